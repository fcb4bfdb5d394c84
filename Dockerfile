# One image for servers and clients. It holds no key, no token and no data: those are in volumes and secrets.
#
#   docker build --tag sglr .
#   docker run --rm sglr list methods
#
# For a GPU: --build-arg TORCH_INDEX=https://download.pytorch.org/whl/cu130
# For nodes of a Ray cluster: --build-arg EXTRAS=ray; for sites with recordings: EXTRAS=sites,data,audio

FROM python:3.12-slim-bookworm AS build
ARG TORCH_INDEX=https://download.pytorch.org/whl/cpu
ARG EXTRAS=sites,data
WORKDIR /source
COPY pyproject.toml constraints.txt README.md LICENSE ./
COPY src ./src
RUN python -m venv /opt/sglr \
    && /opt/sglr/bin/pip install --no-cache-dir --constraint constraints.txt --extra-index-url "$TORCH_INDEX" ".[$EXTRAS]"

FROM python:3.12-slim-bookworm
RUN useradd --uid 10001 --home-dir /var/lib/sglr --create-home --shell /usr/sbin/nologin sglr \
    && chmod 700 /var/lib/sglr
COPY --from=build /opt/sglr /opt/sglr
ENV PATH=/opt/sglr/bin:$PATH \
    PYTHONUNBUFFERED=1
USER 10001:10001
WORKDIR /var/lib/sglr
EXPOSE 7443
ENTRYPOINT ["sglr"]
CMD ["--help"]
