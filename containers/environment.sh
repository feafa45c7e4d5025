# Environment of every image. It is read before the host's, whose values these replace; APPTAINERENV_NAME replaces them.
export PATH=/opt/fute/venv/bin:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin
export PYTHONNOUSERSITE=1 PYTHONDONTWRITEBYTECODE=1
# no network at run time, unless a step says otherwise
export HF_HUB_OFFLINE=1 HF_DATASETS_OFFLINE=1 HF_HUB_DISABLE_TELEMETRY=1
export VLLM_NO_USAGE_STATS=1 DO_NOT_TRACK=1
# every cache in one place: a folder bound to /cache, else one of the user in the host's /tmp; while an image is built
# by an ordinary user, that user is called root
read -r inside outside _ < /proc/self/uid_map
if [ -w /cache ]; then FUTE_CACHE=/cache; else FUTE_CACHE=/tmp/fute-cache-$(($(id -u) - inside + outside)); fi
export FUTE_CACHE
export XDG_CACHE_HOME=$FUTE_CACHE XDG_CONFIG_HOME=$FUTE_CACHE/config
export HF_HOME=$FUTE_CACHE/huggingface HF_HUB_CACHE=$FUTE_CACHE/huggingface/hub
export HF_DATASETS_CACHE=$FUTE_CACHE/huggingface/datasets HF_XET_CACHE=$FUTE_CACHE/huggingface/xet
export VLLM_CACHE_ROOT=$FUTE_CACHE/vllm VLLM_CONFIG_ROOT=$FUTE_CACHE/config/vllm
export FLASHINFER_WORKSPACE_BASE=$FUTE_CACHE TILELANG_CACHE_DIR=$FUTE_CACHE/tilelang
export TRITON_CACHE_DIR=$FUTE_CACHE/triton TRITON_HOME=$FUTE_CACHE
export TORCHINDUCTOR_CACHE_DIR=$FUTE_CACHE/inductor TORCH_HOME=$FUTE_CACHE/torch
export TORCH_EXTENSIONS_DIR=$FUTE_CACHE/torch-extensions CUDA_CACHE_PATH=$FUTE_CACHE/cuda
export MPLCONFIGDIR=$FUTE_CACHE/matplotlib NUMBA_CACHE_DIR=$FUTE_CACHE/numba
export TIKTOKEN_CACHE_DIR=$FUTE_CACHE/tiktoken
