#!/usr/bin/env bash
# Whether pixels are Pillow's on aarch64 too, on a machine that isn't: `bash scripts/check_aarch64.sh [--trials N]`.
# Cross-compiles the C library, takes the aarch64 wheels of the tested versions, and runs the comparison of
# scripts/bench/parts/pixels.py and the tests of preprocess/pixels/ under qemu, against Pillow's own aarch64 build. For Debian,
# as root, after `apt-get install debootstrap qemu-user-static gcc-aarch64-linux-gnu`; about 5 minutes.
. "$(dirname "${BASH_SOURCE[0]}")/environment.sh"
prepare_environment dev
cd "$root"
folder=$root/build/aarch64
for tool in debootstrap qemu-aarch64-static aarch64-linux-gnu-gcc; do
    command -v "$tool" >/dev/null || {
        echo "error: $tool is missing: apt-get install debootstrap qemu-user-static gcc-aarch64-linux-gnu" >&2
        exit 2
    }
done

if [ ! -e "$folder/system/.whole" ]; then
    rm -rf "$folder/system"
    mkdir -p "$folder/system"
    debootstrap --arch=arm64 --foreign --variant=minbase --include=python3,libpython3.11-stdlib bookworm "$folder/system"
    for package in "$folder"/system/var/cache/apt/archives/*.deb; do
        dpkg-deb -x "$package" "$folder/system"
    done
    touch "$folder/system/.whole"
fi

wanted=$(cat constraints.txt | sha256sum)
if ! grep -qsF "$wanted" "$folder/site/.installed"; then
    rm -rf "$folder/site"
    platforms=(--platform any)
    for glibc in 2_17 2_26 2_27 2_28; do platforms+=(--platform "manylinux_${glibc}_aarch64"); done
    "$python" -m pip install --quiet --disable-pip-version-check --target "$folder/site" --no-deps \
        --only-binary :all: "${platforms[@]}" --platform manylinux2014_aarch64 --implementation cp --python-version 3.11 \
        --constraint constraints.txt numpy pillow simplejpeg zlib-ng pyarrow tokenizers safetensors PyYAML tqdm jinja2 MarkupSafe av \
        decord2 pytest hypothesis iniconfig pluggy packaging sortedcontainers pygments
    echo "$wanted" > "$folder/site/.installed"
fi

rm -rf "$folder/tree"
mkdir -p "$folder/tree"
cp -r setup.py setup.cfg README.md preprocess shards train tests scripts "$folder/tree"
cd "$folder/tree"
CC=aarch64-linux-gnu-gcc LDSHARED="aarch64-linux-gnu-gcc -shared" "$python" setup.py --quiet build_ext --inplace --force

export PYTHONPATH=$folder/tree:$folder/site QEMU_LD_PREFIX=$folder/system
emulated=(qemu-aarch64-static "$folder/system/usr/bin/python3.11")
"${emulated[@]}" scripts/bench/parts/pixels.py "${@:---trials=700}"
# The one test of speed says nothing here.
"${emulated[@]}" -m pytest -q -p no:cacheprovider tests/preprocess/pixels --deselect \
    tests/preprocess/pixels/test_engine.py::test_a_check_compares_and_measures
