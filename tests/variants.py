"""Which variants of the kernels the tests run."""

from pyclnf import _kernels


def usable_variants() -> tuple[str, ...]:
    """Return the variants of the kernels that this CPU can run, whether they are installed or not."""
    runs_avx2 = _kernels.load_variant("baseline").has_avx2()
    return tuple(name for name in _kernels.VARIANTS if name != "avx2" or runs_avx2)
