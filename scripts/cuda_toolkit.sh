#!/usr/bin/env bash
# Prints the folder of a CUDA toolkit that can compile: the one of nvcc on PATH or in CUDA_HOME; otherwise one
# put together in the folder given as the argument from NVIDIA's pip packages, with the given Python's pip.
#   scripts/cuda_toolkit.sh FOLDER PYTHON
set -euo pipefail
folder=$1
python=$2

is_toolkit() { [ -x "$1/bin/nvcc" ] && [ -f "$1/include/cuda_runtime.h" ]; }

nvcc=$(command -v nvcc || true)
for home in "${CUDA_HOME:-}" "${nvcc:+$(dirname "$(dirname "$(readlink -f "$nvcc")")")}" /usr/local/cuda; do
    if [ -n "$home" ] && is_toolkit "$home"; then
        echo "$home"
        exit
    fi
done

"$python" -m pip --disable-pip-version-check install --quiet --target "$folder" \
    'nvidia-cuda-nvcc==13.0.*' 'nvidia-cuda-crt==13.0.*' 'nvidia-nvvm==13.0.*' \
    'nvidia-cuda-runtime==13.0.*' 'nvidia-cuda-cccl==13.0.*' 'nvidia-cuda-culibos==13.0.*' >&2
home=$folder/nvidia/cu13
[ -e "$home/lib64" ] || ln -s lib "$home/lib64"
is_toolkit "$home" || { echo "error: NVIDIA's pip packages brought no usable nvcc to $home" >&2; exit 1; }
echo "$home"
