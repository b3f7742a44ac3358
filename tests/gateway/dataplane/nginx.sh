#!/bin/sh
# Unpacks Debian's nginx into FOLDER: nothing is installed on the machine, no service starts, no root is needed unless the
# machine's package lists are missing. Does nothing where it is installed.
# Usage: nginx.sh FOLDER. Ends with 0 and a printed reason where it cannot be had; the test that needs it then says so.
set -u
folder=$1

[ -x "$folder/usr/sbin/nginx" ] && exit 0
if PATH=$PATH:/usr/sbin:/usr/local/sbin command -v nginx > /dev/null; then exit 0; fi
if ! command -v apt-get > /dev/null || ! command -v dpkg > /dev/null; then
    echo "nginx is not installed, and this is no Debian where it could be fetched: https://nginx.org/en/download.html"
    exit 0
fi
mkdir -p "$folder/packages" && cd "$folder/packages" || exit 1
fetch() { timeout 120 apt-get download nginx > fetch.log 2>&1; }
echo "fetching Debian's nginx into $folder"
fetch || { timeout 120 apt-get update > update.log 2>&1; fetch; } || {
    echo "nginx could not be fetched:"; tail -n 3 fetch.log; exit 0
}
for package in *.deb; do dpkg -x "$package" .. || exit 1; done
rm -f ./*.deb
