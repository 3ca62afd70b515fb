"""Models that are elsewhere: how they are called, what is known of them, and how they come here, safe and whole.

``OWNER/REPO[@REVISION]`` names one of the Hugging Face Hub; the catalogue has names for some, and knows more of them.
The variables of the Hub's client hold as everywhere: HF_HOME, HF_HUB_CACHE, HF_ENDPOINT, HF_TOKEN, HF_HUB_OFFLINE.

huggingface_hub is imported by functions only: whoever runs a model of this machine does not pay for it. Nor is torch.
"""

from restorer.hub.address import Address, address
from restorer.hub.catalog import Listing, catalog, listed
from restorer.hub.folder import Bill, Place, bill, check_safe, fetch, fetch_listed, peek
from restorer.hub.progress import shown_by

__all__ = [
    "Address",
    "Bill",
    "Listing",
    "Place",
    "address",
    "bill",
    "catalog",
    "check_safe",
    "fetch",
    "fetch_listed",
    "listed",
    "peek",
    "shown_by",
]
