# Two images from one file: `gateway` (the default) and `mlflow-server` for the compose file.
# Every package comes from a hash-locked requirements file, as a wheel: no stage needs a compiler.
ARG PYTHON_IMAGE=python:3.11-slim-bookworm

FROM ${PYTHON_IMAGE} AS base
RUN groupadd --gid 10001 app \
    && useradd --uid 10001 --gid app --no-create-home --home-dir /tmp --shell /usr/sbin/nologin app
COPY containers/healthcheck.py containers/proxy.py /opt/containers/
# Python writes no bytecode, because the root file system is meant to be read-only.
ENV PATH=/opt/venv/bin:$PATH HOME=/tmp PYTHONDONTWRITEBYTECODE=1 PYTHONUNBUFFERED=1
STOPSIGNAL SIGTERM


FROM ${PYTHON_IMAGE} AS mlflow-server-builder
ENV PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_NO_CACHE_DIR=1 PIP_ROOT_USER_ACTION=ignore
RUN python -m venv --without-pip /opt/venv
COPY requirements-mlflow-server.lock /build/
RUN pip --python /opt/venv/bin/python install --require-hashes --only-binary :all: -r /build/requirements-mlflow-server.lock


FROM base AS mlflow-server
LABEL org.opencontainers.image.title="mlflow-server" \
      org.opencontainers.image.description="An MLflow server with its clients for PostgreSQL and S3" \
      org.opencontainers.image.licenses="Apache-2.0"
COPY --from=mlflow-server-builder /opt/venv /opt/venv
COPY containers/make_bucket.py /opt/containers/
# The server stores each artifact here while it transfers it. A volume, so that it does not use memory.
RUN install -d -m 0700 -o app -g app /var/spool/mlflow
VOLUME /var/spool/mlflow
ENV TMPDIR=/var/spool/mlflow MLFLOW_HOST=0.0.0.0 MLFLOW_PORT=5000 MLFLOW_SERVER_ENABLE_JOB_EXECUTION=false
USER 10001:10001
WORKDIR /
EXPOSE 5000
HEALTHCHECK --interval=10s --timeout=6s --start-period=90s --retries=3 \
    CMD ["python", "-IS", "/opt/containers/healthcheck.py", "http://127.0.0.1:{MLFLOW_PORT}/health"]
ENTRYPOINT ["mlflow"]
CMD ["server"]


FROM ${PYTHON_IMAGE} AS builder
ENV PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_NO_CACHE_DIR=1 PIP_ROOT_USER_ACTION=ignore
RUN python -m venv --without-pip /opt/venv
COPY requirements.lock /build/
RUN pip --python /opt/venv/bin/python install --require-hashes --only-binary :all: -r /build/requirements.lock
COPY pyproject.toml README.md LICENSE /build/
COPY src /build/src
# The build backend comes from the lock file too, and is uninstalled after the build.
RUN pip --python /opt/venv/bin/python install --no-deps --no-build-isolation --no-index /build \
    && pip --python /opt/venv/bin/python uninstall --yes editables hatchling pathspec pluggy trove-classifiers \
    && /opt/venv/bin/gateway --help >/dev/null


FROM base AS gateway
ARG VERSION=0.2.0
ARG REVISION=unknown
LABEL org.opencontainers.image.title="model-invocation-endpoint" \
      org.opencontainers.image.description="An HTTP gateway in front of an MLflow server: every model there is callable by URL" \
      org.opencontainers.image.licenses="Apache-2.0" \
      org.opencontainers.image.version="${VERSION}" \
      org.opencontainers.image.revision="${REVISION}"
COPY --from=builder /opt/venv /opt/venv
RUN install -d -m 0700 -o app -g app /var/cache/gateway
VOLUME /var/cache/gateway
# GATEWAY_AUTH is not set here: it listens on all addresses, and does not start until `docker run` says how callers
# show who they are, or that they need not: -e GATEWAY_AUTH=none (docs/identity.md).
# A Kubernetes Service named `gateway` replaces GATEWAY_PORT in the environment, but not the second name.
ENV GATEWAY_HOST=0.0.0.0 GATEWAY_PORT=80 GATEWAY_PORT_DEFAULT=80 GATEWAY_CACHE_DIR=/var/cache/gateway
USER 10001:10001
# Not a folder that models can write: the gateway reads `.env` there.
WORKDIR /
EXPOSE 80
HEALTHCHECK --interval=10s --timeout=6s --start-period=60s --retries=3 \
    CMD ["python", "-IS", "/opt/containers/healthcheck.py", "http://127.0.0.1:{GATEWAY_PORT}/health/ready"]
ENTRYPOINT ["gateway"]
CMD ["serve"]
