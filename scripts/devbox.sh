#!/usr/bin/env bash
# The devbox on this machine's container engine; make calls it. docs/devbox.md
#   image | image-lock | up | down | ssh [COMMAND...] | jupyter | attach | run VERB... | usable
# Needs an engine, and nothing else: what this machine lacks of ssh and Python is taken from the devbox.
set -euo pipefail
cd "$(dirname "$0")/.."
project="$PWD"
state="$project/.devbox"
image="${RECIPEBOX_IMAGE:-recipebox-devbox}"
docker="${RECIPEBOX_ENGINE:-docker}"

fail() {
    printf 'devbox: %s\n' "$1" >&2
    exit 2
}

engine() {
    command -v "$docker" >/dev/null || fail "no $docker here. Install Docker (docs.docker.com/engine/install), or name your engine: RECIPEBOX_ENGINE=podman"
    "$docker" version >/dev/null 2>&1 ||
        fail "$docker is installed, and its daemon does not answer you. Try: sudo systemctl start docker; sudo usermod -aG docker $(id -un) (then log in again)"
}

compose() {
    if "$docker" compose version >/dev/null 2>&1; then
        "$docker" compose -f docker/compose.yaml "$@"
    elif command -v docker-compose >/dev/null; then
        docker-compose -f docker/compose.yaml "$@"
    else
        fail "no compose here. On Debian or Ubuntu: apt install docker-compose-v2 (or docker-compose)"
    fi
}

container() { "$docker" ps --quiet --filter "label=recipebox.project=$project" --filter status=running | head -n 1; }

settings() {
    export RECIPEBOX_PROJECT="$project" RECIPEBOX_IMAGE="$image"
    export RECIPEBOX_UID="${RECIPEBOX_UID:-$(id -u)}" RECIPEBOX_GID="${RECIPEBOX_GID:-$(id -g)}"
    # Two checkouts have a devbox each; a path is no name for an engine.
    COMPOSE_PROJECT_NAME="${COMPOSE_PROJECT_NAME:-recipebox-$(printf %s "$project" | cksum | cut -d' ' -f1)}"
    export COMPOSE_PROJECT_NAME
    # A folder of this machine, where one was named; else a volume of the engine.
    local name
    for name in DATA WEIGHTS; do
        local variable="RECIPEBOX_$name"
        if [ -n "${!variable:-}" ]; then
            [ -d "${!variable}" ] || fail "$variable: no folder ${!variable}"
            export "$variable=$(cd "${!variable}" && pwd)" "${variable}_KIND=bind"
        fi
    done
    export RECIPEBOX_RUNS="${RECIPEBOX_RUNS:-$project/runs}"
    mkdir -p "$RECIPEBOX_RUNS"
    RECIPEBOX_RUNS="$(cd "$RECIPEBOX_RUNS" && pwd)"
    case "$project" in
        *[\$\"\\]*) fail "the project's path has a character that compose would take for its own: $project" ;;
    esac
}

profile() {
    case "${RECIPEBOX_DEVBOX_PROFILE:-}" in
        cpu | gpu) printf '%s' "$RECIPEBOX_DEVBOX_PROFILE" ;;
        '') if [ -e /dev/nvidia0 ] && "$docker" info --format '{{json .Runtimes}}' 2>/dev/null | grep -q nvidia; then printf gpu; else printf cpu; fi ;;
        *) fail "RECIPEBOX_DEVBOX_PROFILE is cpu or gpu" ;;
    esac
}

build() {
    engine
    local arguments=(--file docker/Dockerfile --target devbox --tag "$image")
    [ -z "${BASE_IMAGE:-}" ] || arguments+=(--build-arg "BASE_IMAGE=$BASE_IMAGE")
    [ -z "${TENSORRT:-}" ] || arguments+=(--build-arg "TENSORRT=$TENSORRT")
    [ -z "${BUILD_NETWORK:-}" ] || arguments+=(--network "$BUILD_NETWORK")
    DOCKER_BUILDKIT=1 "$docker" build "${arguments[@]}" . || fail "the image was not built; the lines above say why."
    echo "devbox: does it work?" >&2
    "$docker" run --rm --network none --entrypoint python "$image" /opt/recipebox/code/docker/smoke.py
}

image_lock() {
    engine
    local tag digest
    tag="$(sed -n 's/^ARG BASE_IMAGE=\([^@]*\).*/\1/p' docker/Dockerfile)"
    "$docker" pull "$tag" >&2 || fail "$tag cannot be pulled; image-lock needs the network."
    digest="$("$docker" image inspect --format '{{index .RepoDigests 0}}' "$tag")"
    digest="${digest##*@}"
    [[ "$digest" =~ ^sha256:[0-9a-f]{64}$ ]] || fail "the engine names no digest of $tag"
    sed -i "s|^ARG BASE_IMAGE=.*|ARG BASE_IMAGE=$tag@$digest|" docker/Dockerfile
    echo "docker/Dockerfile: $tag@$digest"
}

# The pair of keys that opens this devbox and nothing else: by ssh-keygen of this machine, or of the image. There root
# calls it, who may write the folder whosever it is, and whom it knows; what it made is given to who will use it.
make_keys() {
    if [ -s "$state/id_ed25519" ] && [ -s "$state/id_ed25519.pub" ]; then return; fi
    if command -v ssh-keygen >/dev/null; then
        rm -f "$state/id_ed25519"
        ssh-keygen -q -t ed25519 -N '' -C recipebox-devbox -f "$state/id_ed25519"
    else
        # shellcheck disable=SC2016
        "$docker" run --rm --network none --user 0:0 --volume "$state:/made" --entrypoint sh "$image" -c '
            ssh-keygen -q -t ed25519 -N "" -C recipebox-devbox -f /tmp/id_ed25519 &&
            chown "$1:$2" /tmp/id_ed25519 /tmp/id_ed25519.pub && mv /tmp/id_ed25519.pub /tmp/id_ed25519 /made
        ' sh "$RECIPEBOX_UID" "$RECIPEBOX_GID"
    fi || fail "no key was made; the lines above say why."
}

# Called by root for somebody else (RECIPEBOX_UID): what was made here belongs to them.
hand_over() {
    [ "$(id -u)" = "$RECIPEBOX_UID" ] || chown -h "$RECIPEBOX_UID:$RECIPEBOX_GID" "$state" "$state"/*
}

up() {
    settings
    if ! "$docker" image inspect "$image" >/dev/null 2>&1; then
        engine
        fail "no image $image here yet: make image"
    fi
    [ "$RECIPEBOX_UID" != 0 ] && [ "$RECIPEBOX_GID" != 0 ] ||
        fail "nobody works as root in the devbox. Name a user who may write the project: RECIPEBOX_UID=1000 RECIPEBOX_GID=1000 make up"
    (
        umask 077
        mkdir -p "$state"
        make_keys
        touch "$state/authorized_keys"
        grep -qxFf "$state/id_ed25519.pub" "$state/authorized_keys" || cat "$state/id_ed25519.pub" >>"$state/authorized_keys"
    )
    [ "$(id -u)" = "$RECIPEBOX_UID" ] || chown "$RECIPEBOX_UID:$RECIPEBOX_GID" "$RECIPEBOX_RUNS"
    hand_over
    local id key chosen published
    id="$(container)"
    if [ -z "$id" ]; then
        chosen="$(profile)"
        compose --profile "$chosen" up --detach --no-build >&2 || fail "the devbox did not start; the lines above say why."
        id="$(container)"
    else
        # It has the port it was started with, whatever this shell's RECIPEBOX_SSH_PORT says.
        published="$("$docker" port "$id" 2222/tcp 2>/dev/null | head -n 1)" || true
        [ -z "$published" ] || port="${published##*:}"
    fi
    # One call waits for sshd and brings its key: from the engine, not from whoever answers at the port.
    [ -n "$id" ] && key="$("$docker" exec "$id" sh -c '
        for _ in $(seq 600); do
            health 2>/dev/null && exec cut -d" " -f1,2 /etc/devbox/keys/ssh_host_ed25519_key.pub
            sleep 0.05
        done
        exit 1')" && [[ "$key" == ssh-* ]] || {
        compose --profile cpu --profile gpu logs --tail 5 >&2 || true
        fail "the devbox does not come up; the lines above are its own."
    }
    printf '[127.0.0.1]:%s %s\n' "$port" "$key" "2222" "$key" | sort -u >"$state/known_hosts"
    ssh_config >"$state/ssh_config"
    hand_over
    echo "devbox: up. \`make ssh\` goes in, \`make train\` runs inside, \`make down\` ends it." >&2
}

ssh_config() {
    cat <<END
# Written by \`make up\`. Yours too: ssh -F $state/ssh_config devbox
Host devbox
    HostName 127.0.0.1
    Port $port
    User dev
    IdentityFile "$state/id_ed25519"
    IdentitiesOnly yes
    UserKnownHostsFile "$state/known_hosts"
    StrictHostKeyChecking yes
    ForwardAgent no
    ServerAliveInterval 15
END
}

# ssh of this machine, or of the devbox itself, where sshd has the port that is published here.
ssh_devbox() {
    if command -v ssh >/dev/null; then
        ssh -F "$state/ssh_config" "$@"
    else
        inside ssh -F "$state/ssh_config" -p 2222 "$@"
    fi
}

inside() {
    local terminal=(--interactive)
    [ -t 0 ] && [ -t 1 ] && terminal+=(--tty)
    "$docker" exec "${terminal[@]}" --user dev --workdir "$PWD" --env HOME=/home/dev --env RECIPEBOX_DEVBOX_PORT=2222 \
        --env RECIPEBOX_DEBUG --env "TERM=${TERM:-dumb}" "$(container)" "$@"
}

client() {
    # A host of the user's own ssh configuration is not known in the devbox.
    [ -z "${RECIPEBOX_HOST:-}" ] || [ -f "${RECIPEBOX_VENV:-.venv}/.ready" ] || fail "HOST needs recipebox on this machine: make setup"
    if [ -f "${RECIPEBOX_VENV:-.venv}/.ready" ]; then
        exec "${RECIPEBOX_VENV:-.venv}/bin/recipebox" devbox "$@"
    fi
    inside recipebox devbox "$@"
}

is_up() { [ -n "$(container)" ] && [ -f "$state/ssh_config" ]; }
ensure_up() { is_up || up; }

port="${RECIPEBOX_SSH_PORT:-2222}"
verb="${1:-}"
shift || true
case "$verb" in
    image) build ;;
    image-lock) image_lock ;;
    up) up ;;
    down)
        engine
        settings
        compose --profile cpu --profile gpu down --timeout 30
        ;;
    ssh)
        ensure_up
        ssh_devbox devbox "$@"
        ;;
    jupyter)
        command -v ssh >/dev/null || fail "Jupyter is reached through ssh, and there is no ssh here: apt install openssh-client"
        ensure_up
        token="$(ssh_devbox devbox jupyter-start)"
        echo "http://127.0.0.1:8888/lab?token=$token    (Ctrl-C closes the tunnel; Jupyter goes on)"
        ssh_devbox -N -o ExitOnForwardFailure=yes -L 127.0.0.1:8888:127.0.0.1:8888 devbox
        ;;
    attach)
        [ -n "${RECIPEBOX_HOST:-}" ] || is_up || fail "no devbox is up: make up"
        client attach ${RECIPEBOX_HOST:+--host "$RECIPEBOX_HOST"}
        ;;
    run)
        [ -n "${RECIPEBOX_HOST:-}" ] || ensure_up
        client run ${RECIPEBOX_HOST:+--host "$RECIPEBOX_HOST"} "$@"
        ;;
    # Quietly and at once: whether `make train` can run in a devbox here.
    usable)
        [ "${RECIPEBOX_INSIDE:-}" != devbox ] && command -v "$docker" >/dev/null || exit 1
        timeout 5 "$docker" image inspect "$image" >/dev/null 2>&1
        ;;
    *) fail "expected image, image-lock, up, down, ssh, jupyter, attach, run or usable" ;;
esac
