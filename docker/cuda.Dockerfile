# xpnn on an NVIDIA GPU. Build from the top of the repository:
#   docker build -f docker/cuda.Dockerfile -t xpnn:cuda .
# Targets: run (the default) is the xpnn command; test is the test matrix on the GPU.
# CUDA's libraries come with CuPy's wheels; the driver comes from the host, through the
# NVIDIA Container Toolkit.

ARG PYTHON=3.12

# Dependencies first, with an empty package in place of the sources: editing the sources
# does not install them again.
FROM python:${PYTHON}-slim AS dependencies
# 13 needs driver 580 or newer, 12 needs 525 or newer.
ARG CUDA=13
ENV PIP_DISABLE_PIP_VERSION_CHECK=1 \
    PIP_ROOT_USER_ACTION=ignore \
    MPLCONFIGDIR=/var/cache/xpnn/matplotlib \
    CUPY_CACHE_DIR=/var/cache/xpnn/cupy \
    NVIDIA_VISIBLE_DEVICES=all \
    NVIDIA_DRIVER_CAPABILITIES=compute,utility
# Open to every user, so that the container also runs under another user id (--user).
RUN useradd --create-home --uid 1000 xpnn \
    && install -d -m 1777 /work "$MPLCONFIGDIR" "$CUPY_CACHE_DIR"
WORKDIR /src
COPY pyproject.toml LICENSE ./
RUN --mount=type=cache,target=/root/.cache/pip \
    mkdir -p src/xpnn \
    && touch README.md src/xpnn/__init__.py \
    && python -m pip install ".[cuda${CUDA},bfloat16]"

FROM dependencies AS test
RUN --mount=type=cache,target=/root/.cache/pip \
    python -m pip install ".[test]"
COPY README.md ./
COPY src src
RUN --mount=type=cache,target=/root/.cache/pip \
    python -m pip install --no-deps --force-reinstall . \
    && chown 1000 /src
# Tests read both.
COPY benchmarks benchmarks
COPY docker docker
COPY tests tests
USER 1000
ENTRYPOINT ["sh", "docker/gpu-matrix.sh"]

FROM dependencies AS run
COPY README.md ./
COPY src src
RUN --mount=type=cache,target=/root/.cache/pip \
    python -m pip install --no-deps --force-reinstall .
USER 1000
WORKDIR /work
VOLUME /work
ENTRYPOINT ["xpnn"]
CMD ["check", "--backends", "cupy"]
