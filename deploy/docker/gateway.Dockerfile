# The gateway: the compiled wheel and its dependencies on a slim Python. Build it from the repository's root:
#   docker build -f deploy/docker/gateway.Dockerfile -t ghcr.io/graduand/gateway:0.1.0 .
FROM python:3.11.14-slim-bookworm AS build
# Debian takes old versions of packages away, so that pinned ones could not be built again. They stay in this stage.
# hadolint ignore=DL3008
RUN apt-get update \
    && apt-get install -y --no-install-recommends gcc libc6-dev \
    && rm -rf /var/lib/apt/lists/*
WORKDIR /src
COPY pyproject.toml setup.py README.md LICENSE ./
COPY graduand graduand
COPY gateway gateway
COPY monitoring monitoring
COPY rollout rollout
COPY training training
COPY deploy/docker/constraints.txt /constraints.txt
# Without a compiler the hot path would silently run at half the speed; here that is an error.
ENV GRADUAND_COMPILED=1 PIP_NO_CACHE_DIR=1 PIP_DISABLE_PIP_VERSION_CHECK=1
RUN python -m venv /opt/graduand \
    && python -m pip wheel --no-deps --wheel-dir /wheels . \
    && /opt/graduand/bin/python -m pip install --constraint /constraints.txt "$(echo /wheels/*.whl)[otel]"

FROM python:3.11.14-slim-bookworm
COPY --from=build /opt/graduand /opt/graduand
ENV PATH=/opt/graduand/bin:$PATH PYTHONDONTWRITEBYTECODE=1 PYTHONUNBUFFERED=1 HOME=/tmp
USER 10001:10001
WORKDIR /tmp
EXPOSE 8080 8081
# For Docker and Compose; Kubernetes has probes of its own.
HEALTHCHECK --start-period=30s --interval=15s --timeout=5s \
    CMD ["python", "-c", "import urllib.request as u; u.urlopen('http://127.0.0.1:8080/healthz', timeout=4)"]
ENTRYPOINT ["graduand"]
CMD ["serve", "--config", "/etc/graduand/gateway.yaml"]
