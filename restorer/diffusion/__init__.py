"""The mathematics of diffusion restoration: schedules, predictions, samplers, losses, linear operators. torch only.

Letters, the same in every file of this folder:

    x0    clean picture                  y      degraded picture (0 for an unconditional prior)
    res   y - x0                         eps    noise of unit variance;  z: fresh noise in a step
    t     time, 0 clean ... T start      s      the time a step goes to, s < t
    A     linear operator, y = A(x)      sv     its singular values, A = U diag(sv) Vt
    shift share of the way from x0 to y  sigma  standard deviation of the noise in x_t

    x_t = x0 + shift_t (y - x0) + sigma_t eps
"""
