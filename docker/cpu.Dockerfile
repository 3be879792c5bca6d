# xpnn on the CPU. Build from the top of the repository:
#   docker build -f docker/cpu.Dockerfile -t xpnn:cpu .
# Targets: run (the default) is the xpnn command; test is the test matrix.

ARG PYTHON=3.12

# Dependencies first, with an empty package in place of the sources: editing the sources
# does not install them again.
FROM python:${PYTHON}-slim AS dependencies
ENV PIP_DISABLE_PIP_VERSION_CHECK=1 \
    PIP_ROOT_USER_ACTION=ignore \
    MPLCONFIGDIR=/var/cache/xpnn/matplotlib
# Open to every user, so that the container also runs under another user id (--user).
RUN useradd --create-home --uid 1000 xpnn \
    && install -d -m 1777 /work "$MPLCONFIGDIR"
WORKDIR /src
COPY pyproject.toml LICENSE ./
RUN --mount=type=cache,target=/root/.cache/pip \
    mkdir -p src/xpnn \
    && touch README.md src/xpnn/__init__.py \
    && python -m pip install .

FROM dependencies AS test
# A plain `pip install torch` on Linux brings several GB of CUDA packages, so torch comes
# first and from PyTorch's index of CPU wheels. JAX is a CPU build by default.
ARG TORCH_INDEX=https://download.pytorch.org/whl/cpu
RUN --mount=type=cache,target=/root/.cache/pip \
    python -m pip install --index-url "$TORCH_INDEX" torch \
    && python -m pip install ".[test,torch,jax]"
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
ENTRYPOINT ["python", "-m", "pytest"]
CMD ["--backends", "numpy,array_api_strict,torch,jax"]

FROM dependencies AS run
COPY README.md ./
COPY src src
RUN --mount=type=cache,target=/root/.cache/pip \
    python -m pip install --no-deps --force-reinstall .
USER 1000
WORKDIR /work
VOLUME /work
ENTRYPOINT ["xpnn"]
CMD ["demo", "digits"]
