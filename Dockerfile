# Build:  docker build -t bids-mmh .            (arguments: docs/containers.md)
# Run:    docker run --rm --gpus all -u "$(id -u):$(id -g)" -v BIDS:/data:ro -v OUT:/out bids-mmh /data /out participant

# A published build adds the digest of the base: --build-arg BASE_DIGEST=@sha256:...
ARG BASE_DIGEST=
FROM python:3.11-slim-bookworm${BASE_DIGEST} AS base

# What changes seldom comes first: neither this stage nor the next two look at the source.
FROM base AS dependencies
ARG VARIANT=cuda
ARG TORCH_INDEX=https://download.pytorch.org/whl/cpu
WORKDIR /opt/build
COPY pyproject.toml requirements.lock container/install-dependencies.sh ./
RUN TORCH_INDEX="$TORCH_INDEX" sh install-dependencies.sh "$VARIANT" /opt/venv

FROM base AS fetched
ARG TEMPLATE=auto
ARG TEMPLATE_URL=
ARG TEMPLATE_T1W_SHA256=
ARG TEMPLATE_MASK_SHA256=
ARG SYNTHSTRIP=auto
ARG SYNTHSTRIP_URL=
ARG SYNTHSTRIP_SHA256=
ARG BIOMEDCLIP=auto
ARG BIOMEDCLIP_URL=
ARG BIOMEDCLIP_SHA256=
COPY container/fetch.py container/fetch-all.sh /opt/build/
RUN sh /opt/build/fetch-all.sh /opt/baked

FROM dependencies AS baked
COPY container/vision_tower.py ./
COPY --from=fetched /opt/baked /opt/baked
RUN /opt/venv/bin/python vision_tower.py /opt/baked && chmod -R a+rX,go-w /opt/baked

FROM base AS wheel
WORKDIR /opt/build
COPY container/build-constraints.txt pyproject.toml README.md LICENSE ./
COPY bids_mmh bids_mmh
RUN PIP_CONSTRAINT=build-constraints.txt python3 -m pip wheel --no-cache-dir --no-deps --wheel-dir /wheels .

# On top of the dependencies, which are not copied: their layer is the largest by far.
FROM dependencies AS image
COPY --from=baked /opt/baked /opt/baked
RUN --mount=type=bind,from=wheel,source=/wheels,target=/wheels \
    python3 -m pip --python /opt/venv/bin/python install --no-cache-dir --no-deps --no-index /wheels/*.whl

ARG BASE_DIGEST
ARG VERSION=0.1.0
ARG REVISION=
ARG CREATED=
ARG VARIANT=cuda
ENV PATH=/opt/venv/bin:$PATH \
    LANG=C.UTF-8 \
    PYTHONNOUSERSITE=1 \
    PYTHONDONTWRITEBYTECODE=1 \
    OMP_NUM_THREADS=1 \
    MKL_NUM_THREADS=1 \
    OPENBLAS_NUM_THREADS=1 \
    NIPYPE_NO_ET=1 \
    TEMPLATEFLOW_HOME=/opt/baked/templateflow \
    TEMPLATEFLOW_AUTOUPDATE=off \
    BIDS_MMH_SYNTHSTRIP=/opt/baked/synthstrip.1.pt \
    BIDS_MMH_BIOMEDCLIP=/opt/baked/biomedclip.safetensors \
    BIDS_MMH_DOCKER_TAG=bids-mmh:${VERSION}-${VARIANT}
LABEL org.opencontainers.image.title="bids-mmh" \
      org.opencontainers.image.description="A BIDS App that harmonizes multi-site T1w and T2w brain MRI at the image level" \
      org.opencontainers.image.licenses="Apache-2.0" \
      org.opencontainers.image.source="https://github.com/bids-mmh/bids-mmh" \
      org.opencontainers.image.documentation="https://github.com/bids-mmh/bids-mmh/blob/main/docs/containers.md" \
      org.opencontainers.image.version="${VERSION}" \
      org.opencontainers.image.revision="${REVISION}" \
      org.opencontainers.image.created="${CREATED}" \
      org.opencontainers.image.base.name="docker.io/library/python:3.11-slim-bookworm${BASE_DIGEST}"
# Any id may run the image, and none needs a home; without --user it is not root.
USER 1000:1000
WORKDIR /tmp
ENTRYPOINT ["/opt/venv/bin/bids-mmh"]
