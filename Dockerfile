# The page on port 7860, with PyTorch for CPUs:
#   docker build --tag nst-lightning . && docker run --rm --publish 127.0.0.1:7860:7860 nst-lightning
# For NVIDIA GPUs: --build-arg TORCH_INDEX=https://download.pytorch.org/whl/cu130, and docker run --gpus all.
ARG PYTHON=3.13

FROM python:${PYTHON}-slim AS build
ARG TORCH_INDEX=https://download.pytorch.org/whl/cpu
ENV PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_NO_CACHE_DIR=1
COPY . /src
# Of two builds of one version pip takes the one with a local label, such as 2.14.0+cpu: that of this index.
RUN python -m venv /opt/nst && /opt/nst/bin/pip install --extra-index-url "$TORCH_INDEX" "/src[app,video]"

FROM python:${PYTHON}-slim
ENV PATH=/opt/nst/bin:$PATH
COPY --from=build /opt/nst /opt/nst
# A Hugging Face Space runs as user 1000.
RUN useradd --create-home --uid 1000 nst && install --directory --owner nst /work
USER 1000
WORKDIR /work
EXPOSE 7860
HEALTHCHECK --start-period=30s CMD ["python", "-c", "import urllib.request; urllib.request.urlopen('http://127.0.0.1:7860/')"]
# A Space says in SPACE_HOST by which name it is asked for.
CMD ["sh", "-c", "exec nst app --host 0.0.0.0 --port 7860 --names ${SPACE_HOST:-localhost}"]
