"""``restorer doctor``."""

from typing import Any

import typer

from restorer.cli import options as o
from restorer.cli import output
from restorer.cli.errors import DAMAGED_MODEL

EXAMPLES = """\
  restorer doctor                       paste it in a bug report
  restorer doctor --json | jq .devices"""


def doctor(json: o.JsonOnly = False) -> None:
    """Devices, memory, versions, cache and models; paste it in a bug report."""
    from restorer.cli.machine import facts

    found = facts()
    if json:
        output.json_line(found)
    else:
        output.pairs(_lines(found))
    if any(state != "OK" for state in found["models"].values()):
        raise typer.Exit(DAMAGED_MODEL)


def _lines(found: dict[str, Any]) -> list[tuple[str, str]]:
    cpu, memory, devices, cache = (found[key] for key in ("cpu", "memory", "devices", "cache"))
    bf16 = "fast bf16" if devices["fast_bf16_on_cpu"] else "no fast bf16"
    return [
        *found["versions"].items(),
        ("system", found["system"]),
        ("cpu", f"{cpu['name']}, {cpu['cores']} cores, {bf16}"),
        ("memory", f"{_gb(memory['total'])}, {_gb(memory['free'])} free"),
        *((f"device {name}", what) for name, what in devices["seen"].items()),
        ("auto takes", f"{devices['auto']['device']} in {devices['auto']['dtype']}"),
        ("hub cache", f"{cache['folder']}, {_gb(cache['free'])} free on its disk"),
        (
            "hub access",
            "offline: only models on this machine" if cache["offline"] else "models are fetched when needed",
        ),
        *((f"model {name}", state) for name, state in (found["models"] or {"-": "none"}).items()),
    ]


def _gb(number: int | None) -> str:
    return "unknown" if number is None else f"{number / 1e9:.1f} GB"
