# Images of Whyserve. `make image TARGET=...` builds them:
#
#   server      predicts and explains with ONNX Runtime on the CPU: no TensorFlow, no compiler, no pip
#   server-gpu  the same on CUDA 13; the machine brings the driver (580 or newer) and NVIDIA's container toolkit
#   train       the whole command line, TensorFlow included: train, export, verify, benchmark
#   tfserving   TensorFlow Serving on the same repository
#
# Every image runs as user 10001 and writes to /tmp and its volumes only: `--read-only --tmpfs /tmp` holds for all.
ARG PYTHON_IMAGE=docker.io/library/python:3.11-slim-bookworm
ARG TFSERVING_IMAGE=docker.io/tensorflow/serving:2.20.0

# ---- what Python images start from
FROM ${PYTHON_IMAGE} AS python
RUN useradd --uid 10001 --user-group --no-log-init --no-create-home --home-dir /tmp --shell /usr/sbin/nologin whyserve
# Packages lie on PYTHONPATH: the working directory must not be (PYTHONSAFEPATH), or a folder `models` would shadow ours.
# ONNX Runtime's wheels send usage data to Microsoft, and write a device id, unless ORT_DISABLE_TELEMETRY says no.
ENV PATH=/opt/venv/bin:$PATH \
    PYTHONPATH=/opt/whyserve \
    PYTHONSAFEPATH=1 \
    PYTHONDONTWRITEBYTECODE=1 \
    PYTHONUNBUFFERED=1 \
    ORT_DISABLE_TELEMETRY=1
LABEL org.opencontainers.image.title="whyserve" \
      org.opencontainers.image.description="Serves Keras models together with the reasons for their predictions"

# ---- the locked packages, one environment for each image
FROM ${PYTHON_IMAGE} AS packages
ENV PIP_DISABLE_PIP_VERSION_CHECK=1 \
    PIP_NO_CACHE_DIR=1 \
    PIP_ONLY_BINARY=:all: \
    PIP_REQUIRE_HASHES=1 \
    PIP_ROOT_USER_ACTION=ignore
RUN python -m venv --without-pip /opt/venv
WORKDIR /requirements

# Bytecode is compiled here, once, as nobody can write it later; with hashes in place of times, which not every builder keeps.
FROM packages AS server-packages
COPY requirements/server.txt ./
RUN pip --python /opt/venv/bin/python install --no-compile --require-hashes -r server.txt \
    && /opt/venv/bin/python -m compileall -q --invalidation-mode unchecked-hash /opt/venv/lib

FROM packages AS server-gpu-packages
COPY requirements/server-gpu.txt ./
RUN pip --python /opt/venv/bin/python install --no-compile --require-hashes -r server-gpu.txt \
    && /opt/venv/bin/python -m compileall -q --invalidation-mode unchecked-hash /opt/venv/lib

FROM packages AS train-packages
COPY requirements/build.txt ./
RUN pip --python /opt/venv/bin/python install --require-hashes -r build.txt

# ---- our own packages, readable for everybody whatever the checkout's umask was
FROM ${PYTHON_IMAGE} AS server-code
WORKDIR /opt/whyserve
COPY whyserve ./whyserve
COPY serving ./serving
# All that serving may see of what lies below it.
COPY export/__init__.py export/errors.py export/manifest.py ./export/
RUN chmod -R u=rwX,go=rX . && python -m compileall -q --invalidation-mode unchecked-hash .

FROM ${PYTHON_IMAGE} AS train-code
WORKDIR /opt/whyserve
COPY whyserve ./whyserve
COPY serving ./serving
COPY export ./export
COPY explain ./explain
COPY models ./models
RUN chmod -R u=rwX,go=rX . && python -m compileall -q --invalidation-mode unchecked-hash .

# ---- what both servers share
FROM python AS serving
# Where the health check asks: to be set along with --rest_api_port.
ENV WHYSERVE_HEALTH_PORT=8501
EXPOSE 8500 8501
RUN mkdir /models
VOLUME /models
WORKDIR /tmp
USER 10001:10001
HEALTHCHECK --interval=10s --timeout=5s --start-period=60s --retries=3 \
    CMD ["python", "-I", "-c", "import http.client, os, sys; c = http.client.HTTPConnection('127.0.0.1', int(os.environ['WHYSERVE_HEALTH_PORT']), timeout=4); c.request('GET', '/readyz'); sys.exit(c.getresponse().status != 200)"]
# SIGTERM reaches the server itself, which drains. Arguments of `docker run` take the place of CMD, so one that is added
# comes with the repository: `... --model_repository=/models --max_batch_size=128`.
ENTRYPOINT ["python", "-m", "whyserve", "serve"]
CMD ["--model_repository=/models"]

# ---- TensorFlow Serving on the same repository: the SavedModel of each bundle, signatures `explain` and `explain_target`
# among the others. MODEL_NAME is the model's folder under /models. For several models, mount a models.config (a
# `model_config_list` with name, base_path "/models/<name>" and model_platform "tensorflow" for each) and add
# `--model_config_file=/models/models.config --model_config_file_poll_wait_seconds=60`; MODEL_NAME then counts for the
# health check only. The base's entry point is a shell, which as process 1 ignores SIGTERM: run it with `--init`.
FROM ${TFSERVING_IMAGE} AS tfserving
ENV MODEL_BASE_PATH=/models \
    MODEL_NAME=digits \
    TF_CPP_MIN_LOG_LEVEL=1
EXPOSE 8500 8501
VOLUME /models
WORKDIR /tmp
USER 10001:10001
HEALTHCHECK --interval=10s --timeout=5s --start-period=60s --retries=3 \
    CMD ["/bin/bash", "-c", "exec 3<>/dev/tcp/127.0.0.1/8501; printf 'GET /v1/models/%s HTTP/1.0\\r\\n\\r\\n' \"$MODEL_NAME\" >&3; grep -q '\"AVAILABLE\"' <&3"]
LABEL org.opencontainers.image.title="whyserve-tfserving" \
      org.opencontainers.image.description="TensorFlow Serving on a repository of Whyserve's bundles"

# ---- the whole command line: `train`, `export`, `verify`, ... Mount what shall stay at /work, where it runs.
FROM python AS train
# Libraries that keep files at home do so in /tmp; data sets that were downloaded stay in a volume.
ENV HOME=/tmp \
    MPLCONFIGDIR=/tmp/matplotlib \
    WHYSERVE_CACHE=/cache
RUN mkdir /cache /work && chown 10001:10001 /cache /work
VOLUME ["/cache", "/work"]
WORKDIR /work
COPY --from=train-packages /opt/venv /opt/venv
COPY --from=train-code /opt/whyserve /opt/whyserve
USER 10001:10001
ENTRYPOINT ["python", "-m", "whyserve"]
CMD ["--help"]

FROM serving AS server-gpu
ENV NVIDIA_VISIBLE_DEVICES=all \
    NVIDIA_DRIVER_CAPABILITIES=compute,utility \
    NVIDIA_REQUIRE_CUDA=cuda>=13.0
COPY --from=server-gpu-packages /opt/venv /opt/venv
COPY --from=server-code /opt/whyserve /opt/whyserve
# A GPU that can't be used is an error, not a quiet CPU.
ENTRYPOINT ["python", "-m", "whyserve", "serve", "--device=cuda"]
CMD ["--model_repository=/models"]

# ---- last, so that it is what a plain `docker build .` makes
FROM serving AS server
COPY --from=server-packages /opt/venv /opt/venv
COPY --from=server-code /opt/whyserve /opt/whyserve
