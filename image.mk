# Container images. The engine is docker, podman or buildah, whichever is there; BUILD_IMAGE names a command that stands in
# for it, called as `$(BUILD_IMAGE) TAG CONTEXT [options of docker build]`.
TARGET ?= server
TAG ?= whyserve:$(TARGET)
BUILD_IMAGE ?=
REPOSITORY ?= demo/repository

# The format that keeps HEALTHCHECK; podman and buildah leave it out of theirs.
export BUILDAH_FORMAT = docker

IMAGE_LABELS = \
	--label org.opencontainers.image.version=$$(sed -n 's/^__version__ = "\(.*\)"/\1/p' whyserve/__init__.py) \
	--label org.opencontainers.image.revision=$$(git describe --always --dirty --abbrev=40 2>/dev/null || echo unknown)
IMAGE_OPTIONS = --target $(TARGET) -f Dockerfile $(IMAGE_LABELS)

.PHONY: image test-image

image: ## container image: TARGET=server|server-gpu|train|tfserving TAG=name
	@if [ -n "$(BUILD_IMAGE)" ]; then $(BUILD_IMAGE) $(TAG) . $(IMAGE_OPTIONS); \
	elif docker info >/dev/null 2>&1; then docker build -t $(TAG) $(IMAGE_OPTIONS) .; \
	elif command -v podman >/dev/null; then podman build -t $(TAG) $(IMAGE_OPTIONS) .; \
	elif command -v buildah >/dev/null; then buildah build -t $(TAG) $(IMAGE_OPTIONS) .; \
	else echo "make image needs docker (with its daemon running), podman or buildah. Found none. Install one, or name a stand-in: BUILD_IMAGE=command."; exit 1; fi

# Always the server, whatever the command line says.
test-image: override TARGET = server
test-image: $(VENV)/.dev image ## build the server's image, start it on the demo's bundle, check it
	@[ -d $(REPOSITORY)/digits ] || $(MAKE) --no-print-directory demo
	@WHYSERVE_IMAGE=$(TAG) WHYSERVE_REPOSITORY=$(REPOSITORY) $(BIN)/python -m pytest tests/image/check_server.py
