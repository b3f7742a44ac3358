#!/bin/sh
# Unpacks Debian's Prometheus and promtool into FOLDER, with what its pages need: nothing is installed on the machine, no
# service starts, no root is needed unless the machine's package lists are missing. Does nothing where both are installed.
# Usage: fetch.sh FOLDER. Ends with 0 and a printed reason where it cannot be had; what needs it then says so.
set -u
folder=$1
packages="prometheus libjs-bootstrap4 libjs-eonasdan-bootstrap-datetimepicker libjs-jquery libjs-jquery-hotkeys
libjs-moment libjs-moment-timezone libjs-mustache libjs-popper.js libjs-rickshaw libjs-d3 fonts-glyphicons-halflings"

[ -x "$folder/usr/bin/promtool" ] && exit 0
if command -v prometheus > /dev/null && command -v promtool > /dev/null; then exit 0; fi
if ! command -v apt-get > /dev/null || ! command -v dpkg > /dev/null; then
    echo "Prometheus is not installed, and this is no Debian where it could be fetched: https://prometheus.io/download/"
    exit 0
fi
mkdir -p "$folder/packages" && cd "$folder/packages" || exit 1
fetch() { timeout 300 apt-get download $packages > fetch.log 2>&1; }
echo "fetching Debian's Prometheus into $folder"
fetch || { timeout 300 apt-get update > update.log 2>&1; fetch; } || {
    echo "Prometheus could not be fetched:"; tail -n 3 fetch.log; exit 0
}
for package in *.deb; do dpkg -x "$package" .. || exit 1; done
rm -f ./*.deb
