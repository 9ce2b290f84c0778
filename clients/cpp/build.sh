#!/usr/bin/env bash
# Build tinysight-cpp. What is missing is installed: Debian's packages (as root; else they are named),
# and OpenVINO's wheel, whose libraries are used, into a virtual environment in the build folder.
#
#   clients/cpp/build.sh [--sanitize] [FOLDER]      default folder: build/cpp
#
# Exit code 3: a package is missing and cannot be installed.
#
# OpenVINO_DIR=.../openvino/cmake, or PYTHON=a Python that has openvino, saves the download.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
options=(-DCMAKE_BUILD_TYPE=Release)
if [ "${1:-}" = --sanitize ]; then
    options=(-DCMAKE_BUILD_TYPE=None -DCMAKE_CXX_FLAGS=-O1 -DTINYSIGHT_SANITIZE=ON)
    shift
fi
folder=${1:-$here/../../build/cpp}
python=${PYTHON:-python3}

missing=()
need() { # FILE PACKAGE: the package, unless a file of it is there
    compgen -G "$1" > /dev/null || missing+=("$2")
}
if command -v dpkg > /dev/null; then
    need "/usr/bin/cmake" cmake
    need "/usr/bin/g++" g++
    need "/usr/bin/make" make
    need "/usr/include/opencv4/opencv2/imgproc.hpp" libopencv-imgproc-dev
    need "/usr/include/jpeglib.h" libjpeg-dev
    need "/usr/include/png.h" libpng-dev
    need "/usr/include/webp/decode.h" libwebp-dev
    need "/usr/include/sqlite3.h" libsqlite3-dev
fi
if [ ${#missing[@]} -gt 0 ]; then
    root=()
    if [ "$(id -u)" != 0 ]; then root=(sudo -n); fi
    if ! "${root[@]}" true 2> /dev/null; then
        echo "missing; install them first:  apt-get install --no-install-recommends ${missing[*]}" >&2
        exit 3
    fi
    echo "installing ${missing[*]} ..."
    "${root[@]}" apt-get update -qq || exit 3
    "${root[@]}" env DEBIAN_FRONTEND=noninteractive \
        apt-get install -qq -y --no-install-recommends "${missing[@]}" > /dev/null || exit 3
fi

cmake_folder() { # PYTHON: where its openvino keeps its CMake files, if it has it
    "$1" -c 'import importlib.util as u, pathlib
spec = u.find_spec("openvino")
print(pathlib.Path(spec.origin).parent / "cmake" if spec else "")' 2> /dev/null || true
}
openvino=${OpenVINO_DIR:-$(cmake_folder "$python")}
if [ -z "$openvino" ]; then
    mkdir -p "$folder"
    [ -x "$folder/venv/bin/python" ] || "$python" -m venv "$folder/venv"
    openvino=$(cmake_folder "$folder/venv/bin/python")
fi
if [ -z "$openvino" ]; then
    echo "installing OpenVINO's wheel into $folder/venv ..."
    "$folder/venv/bin/python" -m pip install --quiet --disable-pip-version-check --no-deps \
        -c "$here/../../constraints.txt" openvino
    openvino=$(cmake_folder "$folder/venv/bin/python")
fi

cmake -S "$here" -B "$folder" -DOpenVINO_DIR="$openvino" "${options[@]}" > /dev/null
# nproc would answer with the threads that OMP_NUM_THREADS allows.
cmake --build "$folder" --parallel "${JOBS:-$(env -u OMP_NUM_THREADS nproc)}" -- --no-print-directory
