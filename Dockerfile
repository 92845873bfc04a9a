# The fanout image: two stages, only hash-locked wheels, a numeric user, no shell between a signal and the server.
# Another base needs python3 >= 3.11 with venv: --build-arg BASE=...
ARG BASE=python:3.13-slim

FROM ${BASE} AS build
WORKDIR /build
# Tools of the build stay in /opt/tools: the environment that ships, /opt/fanout, has not even pip.
COPY requirements-build.lock requirements.lock ./
RUN python3 -m venv /opt/tools \
 && /opt/tools/bin/pip install --no-cache-dir --only-binary :all: --require-hashes -r requirements-build.lock \
 && python3 -m venv --without-pip /opt/fanout \
 && /opt/tools/bin/pip --python /opt/fanout/bin/python \
      install --no-cache-dir --only-binary :all: --require-hashes -r requirements.lock
COPY LICENSE README.md pyproject.toml setup.cfg ./
COPY fanout fanout
# The live page links to it: the file in the package is a link to this one.
COPY docs/guarantees.md docs/guarantees.md
RUN /opt/tools/bin/pip wheel --no-cache-dir --no-deps --no-build-isolation --wheel-dir dist . \
 && /opt/tools/bin/pip --python /opt/fanout/bin/python install --no-cache-dir --no-deps --no-index dist/*.whl

FROM ${BASE}
LABEL org.opencontainers.image.title="fanout" \
      org.opencontainers.image.description="Race upstream HTTP calls under one deadline" \
      org.opencontainers.image.licenses="MIT"
COPY --from=build /opt/fanout /opt/fanout
# Loopback inside a container is out of reach for probes and scrapers, so both listeners bind every interface:
# publish 8080 to clients, keep 8081 inside.
ENV PATH=/opt/fanout/bin:$PATH \
    PYTHONDONTWRITEBYTECODE=1 \
    PYTHONUNBUFFERED=1 \
    FANOUT_BIND=0.0.0.0:8080 \
    FANOUT_ADMIN_BIND=0.0.0.0:8081
EXPOSE 8080 8081
USER 65532:65532
STOPSIGNAL SIGTERM
HEALTHCHECK --interval=10s --timeout=3s --start-period=10s --retries=3 CMD ["fanout", "health"]
ENTRYPOINT ["fanout"]
CMD ["serve"]
