#!/bin/sh
# Install what bids-mmh needs, at the lock's versions, into a virtual environment, without what it never loads.
# usage: install-dependencies.sh {cuda,cpu} VENV    beside pyproject.toml and requirements.lock
# env: TORCH_INDEX, for cpu: the package index that has PyTorch built without CUDA
set -eu
variant=$1 venv=$2
export PIP_NO_CACHE_DIR=1 PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_ROOT_USER_ACTION=ignore
venv_pip() { python3 -m pip --python "$venv/bin/python" "$@"; }

python3 -m venv --without-pip "$venv"
# The lock also holds the tools of developers: it says which versions, pyproject.toml says what is needed.
python3 -c 'import tomllib; print(*tomllib.load(open("pyproject.toml", "rb"))["project"]["dependencies"], sep="\n")' \
  > "$venv/requirements.txt"
case $variant in
  cuda) ;;
  cpu)
    # Both from one family of builds; what is installed already is not looked for again below.
    grep -E '^torch(vision)?==' requirements.lock > "$venv/torch.txt"
    venv_pip install --no-deps --index-url "$TORCH_INDEX" --requirement "$venv/torch.txt" ;;
  *) echo "The variant is cuda or cpu, not '$variant'." >&2; exit 64 ;;
esac
venv_pip install --requirement "$venv/requirements.txt" --constraint requirements.lock
rm -f "$venv/requirements.txt" "$venv/torch.txt"

site=$("$venv/bin/python" -c 'import sysconfig; print(sysconfig.get_path("purelib"))')
# Triton is for torch.compile, which is never called.
venv_pip uninstall --yes --quiet triton
# Headers and static libraries are for compilers; NVSHMEM's device code and cuSOLVER for several GPUs are not linked to;
# the performance counters serve profilers.
rm -rf "$site"/torch/include "$site"/torch/share "$site"/torch/bin/protoc* "$site"/nvidia/*/include
rm -f "$site"/nvidia/*/lib/*.a "$site"/nvidia/*/lib/*.bc "$site"/nvidia/*/lib/libcusolverMg.so* "$site"/nvidia/*/lib/libnvperf_*
find "$site" -type d -name tests -prune -exec rm -rf {} +
if [ "$variant" = cpu ] && [ -e "$site/nvidia" ]; then
  echo "CUDA libraries were installed: $TORCH_INDEX has no build of PyTorch without them." >&2
  exit 1
fi
