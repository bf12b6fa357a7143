# An image of the project for a cluster (docs/cluster.md): the packages that the Makefile installs,
# Ray's cluster tools included, and the code in /app.
#
#   docker build --build-arg COMMIT="$(git rev-parse HEAD)" --tag REGISTRY/study:TAG .
#
# Build it from a clean tree: every row of a sweep names this commit as the code that made it.
FROM python:3.11-slim-bookworm

# KubeRay asks whether a pod is alive by wget.
RUN apt-get update \
    && apt-get install --yes --no-install-recommends wget=1.21.* \
    && rm -rf /var/lib/apt/lists/*

# One BLAS thread per worker: a trial's numbers and its speed depend on it.
ENV OMP_NUM_THREADS=1 \
    PIP_NO_CACHE_DIR=1 \
    PYTHONUNBUFFERED=1

WORKDIR /app
COPY pyproject.toml constraints.txt README.md LICENSE ./
COPY study study
COPY analysis analysis
RUN python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt --editable '.[cluster]'
COPY sweeps sweeps

ARG COMMIT=unknown
ENV STUDY_COMMIT=${COMMIT}

# Compiled loops are cached beside the code, so its owner is who runs it.
RUN useradd --uid 1000 --create-home study && chown -R study /app
USER 1000
CMD ["python", "-m", "study.sweep", "--help"]
