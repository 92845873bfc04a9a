# The fanout image: two stages, only hash-locked wheels, a numeric user, no shell between a signal and the server.
# Another base needs python3 >= 3.11 with venv: --build-arg BASE=...
ARG BASE=python:3.13-slim

FROM ${BASE} AS build
# Two builds of one commit are the same bytes: files are dated by this (the default is the first date that a zip can
# hold), and sets have the same order in every compiled module.
ARG SOURCE_DATE_EPOCH=315532800
ENV SOURCE_DATE_EPOCH=${SOURCE_DATE_EPOCH} \
    PYTHONHASHSEED=0 \
    PIP_NO_CACHE_DIR=1 \
    PIP_DISABLE_PIP_VERSION_CHECK=1 \
    PIP_ROOT_USER_ACTION=ignore
# otel: the image can send traces. Empty: only what the server needs.
ARG EXTRAS=otel
WORKDIR /build
COPY requirements-build.lock requirements.lock requirements-otel.lock ./
# Tools of the build stay in /opt/tools: the environment that ships, /opt/fanout, has not even pip.
# A private package index is a secret of the build (--secret id=pip.conf,src=FILE), and so are the authorities that
# its certificate needs (id=pip-ca): neither is in a layer or in the history.
RUN --mount=type=secret,id=pip.conf,target=/etc/pip.conf \
    --mount=type=secret,id=pip-ca,target=/etc/pip-ca.pem \
    python3 -m venv /opt/tools \
 && /opt/tools/bin/pip install --only-binary :all: --require-hashes -r requirements-build.lock \
 && python3 -m venv --without-pip /opt/fanout \
 && /opt/tools/bin/pip --python /opt/fanout/bin/python install --no-compile --only-binary :all: --require-hashes \
      -r "requirements${EXTRAS:+-$EXTRAS}.lock"
COPY LICENSE README.md pyproject.toml setup.* ./
COPY fanout fanout
# The live page links to it: the file in the package is a link to this one.
COPY docs/guarantees.md docs/guarantees.md
# Modules are compiled in one go, in one order; `-f`, because pip has imported a few, and compiled them by their date.
# They do not look at their source again: nobody changes it in an image.
RUN /opt/tools/bin/pip wheel --no-deps --no-build-isolation --wheel-dir dist . \
 && /opt/tools/bin/pip --python /opt/fanout/bin/python install --no-compile --no-deps --no-index --find-links dist \
      fanout-server \
 && /opt/tools/bin/pip --python /opt/fanout/bin/python check \
 && find /opt/fanout/bin ! -type d ! -name fanout ! -name 'python*' -delete \
 && /opt/fanout/bin/python -m compileall -q -f --invalidation-mode unchecked-hash /opt/fanout/lib

FROM ${BASE}
COPY --from=build /opt/fanout /opt/fanout
# Loopback inside a container is out of reach for probes and scrapers, so both listeners bind every interface:
# publish 8080 to clients, keep 8081 inside.
ENV PATH=/opt/fanout/bin:/usr/local/bin:/usr/bin:/bin \
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
# Last, because they change with every commit. `make image` fills them in.
ARG VERSION=unknown
ARG REVISION=unknown
ARG SOURCE=unknown
ARG CREATED=unknown
LABEL org.opencontainers.image.title="fanout" \
      org.opencontainers.image.description="Race upstream HTTP calls under one deadline" \
      org.opencontainers.image.licenses="MIT" \
      org.opencontainers.image.version="${VERSION}" \
      org.opencontainers.image.revision="${REVISION}" \
      org.opencontainers.image.source="${SOURCE}" \
      org.opencontainers.image.created="${CREATED}"
