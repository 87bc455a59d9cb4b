#!/usr/bin/env bash
# Run the tests of the kernels and of the fits with kernels that check themselves.
#
#   tools/sanitize.sh address [pytest's arguments]   memory errors and undefined behaviour (ASan, UBSan)
#   tools/sanitize.sh checked [pytest's arguments]   every index checked by Cython (boundscheck=True)
#   tools/sanitize.sh thread  [pytest's arguments]   data races (TSan), in the tests that use threads
#   tools/sanitize.sh emulated [pytest's arguments]  the AVX-512 variant's code, on a CPU that has AVX2
#
# Linux, GCC, and an environment with pyclnf's build (setuptools 77 or later, Cython) and test requirements
# (PYTHON names its interpreter). The kernels are built in a copy of the checkout, which stays as it is; with SANITIZE_DIR the copy is kept there for
# the next time. PYCLNF_TEST_DATA as for the tests.
set -euo pipefail
kind="${1:?address, checked, thread or emulated}"
shift
root="$(cd "$(dirname "$0")/.." && pwd)"
python="${PYTHON:-python}"
export PYCLNF_TEST_DATA="${PYCLNF_TEST_DATA:-$root/../shared}"
if [ -n "${SANITIZE_DIR:-}" ]; then
  work="$SANITIZE_DIR/$kind"
  mkdir -p "$work"
else
  work="$(mktemp -d)"
  trap 'rm -rf "$work"' EXIT
fi
cd "$root"
git ls-files -z --cached --others --exclude-standard | xargs -0 cp --preserve --parents -t "$work"
cd "$work"
export PYTHONPATH="$work/src"

kernels=(tests/kernels)  # runs all variants itself
tests=(tests/golden tests/unit/test_nu_rlms.py tests/unit/test_clnf.py tests/unit/test_starts.py
       tests/unit/test_start.py tests/unit/test_descent.py tests/unit/test_patch_experts.py tests/unit/test_pdm.py tests/unit/test_camera.py
       tests/unit/test_fit_many.py)
variants=(baseline avx2 avx512)
preload=""
case "$kind" in
  address)
    export PYCLNF_SANITIZE=address
    # The interpreter, NumPy and OpenCV are not instrumented; their memory at exit is not ours to free.
    export ASAN_OPTIONS=detect_leaks=0:abort_on_error=1
    export UBSAN_OPTIONS=print_stacktrace=1
    # Python's small blocks come from malloc too, so that reads beyond them are seen.
    export PYTHONMALLOC=malloc
    preload="$(gcc -print-file-name=libasan.so) $(gcc -print-file-name=libubsan.so)"
    ;;
  checked)
    export PYCLNF_CHECKED=1
    ;;
  thread)
    export PYCLNF_SANITIZE=thread
    # No suppressions: the interpreter and the libraries are not instrumented, so that only accesses of our
    # kernels are reported. (A counter planted in a kernel was; both of its accesses were named.)
    export TSAN_OPTIONS=exitcode=66
    preload="$(gcc -print-file-name=libtsan.so)"
    kernels=()
    tests=(tests/unit/test_fit_many.py tests/unit/test_model.py -k "thread or fit_many")
    ;;
  emulated)
    export PYCLNF_EMULATED=1
    variants=(avx512)
    ;;
  *)
    echo "address, checked, thread or emulated, not $kind" >&2
    exit 2
    ;;
esac

"$python" setup.py --quiet build_ext --inplace
if [ $# -gt 0 ]; then
  kernels=() tests=("$@")
fi
for variant in "${variants[@]}"; do
  if [ "$variant" != baseline ] && ! PYCLNF_KERNELS=baseline LD_PRELOAD="$preload" "$python" -c \
      "import sys; from pyclnf import _kernels as k; sys.exit(not k.load_variant('baseline').has_$variant())"; then
    echo "this CPU has no $variant: that variant is left out"
    continue
  fi
  echo "+ $kind, $variant"
  PYCLNF_KERNELS="$variant" LD_PRELOAD="$preload" "$python" -m pytest -q -p no:cacheprovider ${kernels[@]+"${kernels[@]}"} "${tests[@]}"
  kernels=()
done
