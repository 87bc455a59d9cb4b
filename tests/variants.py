"""Which variants of the kernels the tests run."""

from pyclnf import _kernels


def usable_variants() -> tuple[str, ...]:
    """Return the variants of the kernels that this CPU can run, whether they are installed or not."""
    baseline = _kernels.load_variant("baseline")
    runs = {"avx512": baseline.has_avx512(), "avx2": baseline.has_avx2()}
    return tuple(name for name in _kernels.VARIANTS if runs.get(name, True))
