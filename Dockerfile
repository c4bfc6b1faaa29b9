# The guardian, its API and page, and the demo's shop: one image, run by a user without rights.
#   docker build -t rollout-guardian . && docker run --rm rollout-guardian --help

FROM python:3.11.14-slim-bookworm AS build
ENV PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_NO_CACHE_DIR=1
RUN python -m venv /opt/guardian
WORKDIR /build
# Exactly the packages of the lock file, checked against their hashes, none built from source.
COPY requirements-run.lock ./
RUN /opt/guardian/bin/pip install --require-hashes --only-binary :all: -r requirements-run.lock
COPY pyproject.toml README.md LICENSE ./
COPY guardian guardian
COPY streams streams
COPY demo demo
RUN /opt/guardian/bin/pip install --no-deps --no-build-isolation . \
    && /opt/guardian/bin/pip uninstall --yes setuptools pip

FROM python:3.11.14-slim-bookworm
RUN groupadd --system --gid 10001 guardian \
    && useradd --system --uid 10001 --gid guardian --no-create-home --shell /usr/sbin/nologin guardian
COPY --from=build /opt/guardian /opt/guardian
# Settings, policies and flags to begin with; mount your own over /app/config.
WORKDIR /app
COPY config config
COPY streams/apps/templates config/policies/templates
COPY demo/policies demo/policies
COPY demo/flags.json demo/flags.json
ENV PATH=/opt/guardian/bin:$PATH \
    PYTHONUNBUFFERED=1 \
    GUARDIAN_LOG__JSON_LINES=true \
    GUARDIAN_API__HOST=0.0.0.0 \
    GUARDIAN_HEALTH__HOST=0.0.0.0 \
    GUARDIAN_FLAGD__HOST=0.0.0.0
USER 10001:10001
# The page and the API, health and metrics, flags by flagd's sync protocol.
EXPOSE 8080 8081 8015
HEALTHCHECK --interval=10s --timeout=3s --start-period=20s --retries=3 \
    CMD ["python", "-c", "import urllib.request; urllib.request.urlopen('http://127.0.0.1:8081/healthz', timeout=2)"]
# Drains within 3 s of SIGTERM.
STOPSIGNAL SIGTERM
ENTRYPOINT ["guardian"]
CMD ["run"]
