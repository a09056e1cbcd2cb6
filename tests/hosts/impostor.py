"""A man in the middle: ends TLS with a certificate of another authority, and would read it all.

    python impostor.py LISTEN_PORT CERTIFICATE KEY

Prints "refused" for each connection whose caller would not talk to it, "believed" and what it was
told for each that did.
"""

import socket
import ssl
import sys
import threading


def _meet(plug: socket.socket, context: ssl.SSLContext) -> None:
    plug.settimeout(10)
    try:
        with context.wrap_socket(plug, server_side=True) as secure:
            print(f"believed: {secure.recv(1000)!r}", flush=True)
    except (ssl.SSLError, OSError) as error:
        print(f"refused: {type(error).__name__} {error}", flush=True)


def main(port: int, certificate: str, key: str) -> None:
    """Serve until killed."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)
    context.set_alpn_protocols(["h2"])
    with socket.create_server(("0.0.0.0", port)) as server:
        print("listening", flush=True)
        while True:
            plug, _ = server.accept()
            threading.Thread(target=_meet, args=(plug, context), daemon=True).start()


if __name__ == "__main__":
    main(int(sys.argv[1]), sys.argv[2], sys.argv[3])
