#!/bin/sh
# Starts Redis as the public image does: options alone are options of redis-server, the data is in
# the working directory, and it listens to everybody.
set -eu
case "${1:-}" in
  -*) set -- redis-server "$@" ;;
  *.conf) set -- redis-server "$@" ;;
esac
[ "${1:-}" = redis-server ] || exec "$@"

if [ "$(id -u)" = 0 ]; then
  find . ! -user redis -exec chown redis:redis '{}' +
  exec su -m -s /bin/sh -c 'exec "$0" "$@"' -- redis "$0" "$@"
fi
shift
case "${1:-}" in
  *.conf) file=$1; shift; exec redis-server "$file" --protected-mode no "$@" ;;
esac
exec redis-server --protected-mode no "$@"
