"""nginx twice over: the upstream of whole answers, and the peer that shows the practical limit (`proxy_pass`)."""

from pathlib import Path

from benchmarks.environments import program
from benchmarks.payload import completion, models

HEAD = """
daemon off; worker_processes 1; pid {folder}/nginx.pid; error_log stderr warn;
events {{ worker_connections 2048; }}
http {{
  access_log off; tcp_nodelay on; keepalive_requests 100000000; keepalive_timeout 600s;
  client_body_buffer_size 64k;
  client_body_temp_path {folder}/body; proxy_temp_path {folder}/proxy; fastcgi_temp_path {folder}/fastcgi;
  uwsgi_temp_path {folder}/uwsgi; scgi_temp_path {folder}/scgi;
"""

UPSTREAM = """
  server {{
    listen 127.0.0.1:{port} backlog=1024;
    default_type application/json;
    location = /v1/chat/completions {{ return 200 '{completion}'; }}
    location / {{ return 200 '{models}'; }}
  }}
}}
"""

# Buffering is off, as streams need it; whole answers are not slower for it.
PROXY = """
  upstream model {{ server 127.0.0.1:{upstream}; keepalive 256; keepalive_requests 100000000; keepalive_timeout 600s; }}
  server {{
    listen 127.0.0.1:{port} backlog=1024;
    location / {{
      proxy_pass http://model; proxy_http_version 1.1; proxy_set_header Connection ""; proxy_buffering off;
    }}
  }}
}}
"""


def _command(text: str, folder: Path) -> list[str]:
    folder.chmod(0o755)  # nginx started by root serves as another user
    path = folder / "nginx.conf"
    path.write_text(text)
    return [program("nginx"), "-p", str(folder), "-e", "stderr", "-c", str(path)]


def upstream(port: int, folder: Path) -> list[str]:
    """The command of an upstream that gives every chat the same answer."""
    text = HEAD.format(folder=folder) + UPSTREAM.format(port=port, completion=completion(), models=models())
    return _command(text, folder)


def proxy(port: int, upstream_port: int, folder: Path) -> list[str]:
    """The command of a proxy that passes everything on."""
    return _command(HEAD.format(folder=folder) + PROXY.format(port=port, upstream=upstream_port), folder)
