#!/bin/sh
# Installs the Debian packages that building, testing and running Sightline need, if any is missing.
#
#   deploy/setup/packages.sh [MORE...]         install what is missing (with sudo when not root), MORE packages included
#   deploy/setup/packages.sh --check [MORE...] only say what is missing; exit 1 when something is
#
# Does nothing, and asks for no rights, when everything is there.
set -eu

packages="
  g++ make cmake nasm pkg-config ca-certificates
  python3 python3-venv
  libclang1-14 libclang-common-14-dev
  libopenmpi-dev openmpi-bin
  libgstreamer1.0-dev libgstreamer-plugins-base1.0-dev libgstrtspserver-1.0-dev
  gstreamer1.0-tools gstreamer1.0-plugins-base gstreamer1.0-plugins-good gstreamer1.0-plugins-bad
  gstreamer1.0-plugins-ugly gstreamer1.0-libav
  python3-gi gir1.2-gstreamer-1.0 gir1.2-gst-plugins-base-1.0
  mosquitto mosquitto-clients
  postgresql
  prometheus strace systemd
"
# prometheus is here for promtool, systemd for systemd-analyze, postgresql for its programs, strace to record what the
# object store does to its disk: tests use them. The tests start a Postgres of their own; the one that Debian starts is not used.
# python3-gi and the gir1.2 packages let a test read the elements' metadata from Python.
# libclang is here for the bindings of TensorRT and MPI, which are made while building; without its 300 MB of development files.
# Not here: libgstreamer-plugins-bad1.0-dev, which pulls in 739 MB with OpenCV and VTK.

if ! command -v dpkg-query >/dev/null || ! command -v apt-get >/dev/null; then
    echo "packages: this is not a Debian-like system; install what these Debian packages hold:" $packages >&2
    exit 1
fi

check=no
if [ "${1-}" = --check ]; then
    check=yes
    shift
fi
missing=""
for package in $packages "$@"; do
    state=$(dpkg-query -W -f '${db:Status-Status}' "$package" 2>/dev/null || true)
    [ "$state" = installed ] || missing="$missing $package"
done
[ -n "$missing" ] || exit 0

install="apt-get install -y --no-install-recommends$missing"
if [ "$check" = yes ]; then
    echo "packages: missing:$missing" >&2
    exit 1
fi
if [ "$(id -u)" = 0 ]; then
    as_root="env"
elif command -v sudo >/dev/null && { sudo -n true 2>/dev/null || [ -t 0 ]; }; then
    as_root="sudo"
else
    echo "packages: some are missing, and installing them needs root. Run this line, then start again:" >&2
    echo "  sudo sh -c 'apt-get update && $install'" >&2
    exit 1
fi

echo "packages: installing$missing" >&2
$as_root apt-get update -q
$as_root env DEBIAN_FRONTEND=noninteractive $install
