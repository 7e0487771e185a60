"""Plays the server of docs/vectors.json to a client: python3 check.py [--udp] COMMAND [ARGUMENT]...

The client is called as `COMMAND [ARGUMENT]... [--tcp] HOST:PORT USER`, with the password on standard input. It has to
send what the vectors say, and to end with their status: 0 welcome, 1 refused, 3 no verdict. With --udp, it is not asked
to log in over TCP.
"""
import concurrent.futures, json, pathlib, socket, subprocess, sys, threading, time

VECTORS = json.loads((pathlib.Path(__file__).resolve().parent.parent / "docs/vectors.json").read_text("utf-8"))
REQUEST, WELCOME = "Authentication Request", "Welcome to our service."
USER = VECTORS["digests"][0]
PLAYS = 5  # of a conversation in which the client sent a message too often, as on a busy machine, and then went wrong
PATIENCE = 30  # seconds for a client


def conversations():
    """The vectors for clients: title, user, transport, exchanges and status of each."""
    answer = "{name}:{digest}:{challenge}".format_map
    for vector in VECTORS["digests"]:
        exchanges = [[REQUEST, vector["challenge"]], [answer(vector), WELCOME]]
        for transport in "udp", "tcp":
            yield f"The digest is {vector['digest']}", vector, transport, exchanges, 0
    asked, answered = [REQUEST, USER["challenge"]], [answer(USER), WELCOME]
    for vector in VECTORS["to_client"]:
        if vector["is"] == "nothing":
            exchanges = [[REQUEST, vector["message"]], asked, [answer(USER), vector["message"]], answered]
            yield f"{vector['message'][:40]!r} is nothing", USER, "udp", exchanges, 0
    for vector in VECTORS["conversations"]:
        yield vector["title"], USER, vector["transport"], vector["exchanges"], vector["status"]


def check(command, title, user, transport, exchanges, status):
    """What is wrong with the client, or None."""
    for _ in range(PLAYS):
        server = Server(transport, exchanges)
        options = ["--tcp"] if transport == "tcp" else []
        words = [*command, *options, server.address, user["name"]]
        with server:
            try:
                password = f"{user['password']}\n".encode()
                client = subprocess.run(words, input=password, capture_output=True, timeout=PATIENCE)
                ended = f"ends with status {client.returncode}: {(client.stdout + client.stderr).decode()}"
                is_right = client.returncode == status
            except subprocess.TimeoutExpired:
                ended, is_right = f"does not end within {PATIENCE} s", False
        if server.wrong is None and is_right:
            return None
        if not server.repeats:
            break
    return f"{transport}, {title}: the client {server.wrong or 'sends the right messages'}, and {ended.strip()}"


class Server:
    """Plays one conversation, in a thread of its own, for as long as the client runs."""

    def __init__(self, transport, exchanges):
        self.exchanges = [[message.encode() for message in exchange] for exchange in exchanges]
        self.socket = socket.socket(type=socket.SOCK_STREAM if transport == "tcp" else socket.SOCK_DGRAM)
        self.socket.bind(("127.0.0.1", 0))
        self.socket.settimeout(0.02)  # so that it sees that the client has ended
        if transport == "tcp":
            self.socket.listen()
        self.address = "127.0.0.1:%d" % self.socket.getsockname()[1]
        self.thread = threading.Thread(target=self.over_tcp if transport == "tcp" else self.over_udp)
        self.wrong, self.played, self.repeats, self.is_over = None, 0, 0, False

    def __enter__(self):
        self.thread.start()

    def __exit__(self, *_):
        self.is_over = True
        self.thread.join()
        self.socket.close()
        if self.wrong is None and self.played < len(self.exchanges):
            self.wrong = f"does not send {self.exchanges[self.played][0]}"

    def over_udp(self):
        while not self.is_over:
            try:
                message, peer = self.socket.recvfrom(256)
            except socket.timeout:
                continue
            if self.played < len(self.exchanges) and message == self.exchanges[self.played][0]:
                self.played += 1
            elif self.played and message == self.exchanges[self.played - 1][0]:
                self.repeats += 1
            else:
                self.wrong = f"sends {message}"
                return
            for reply in self.exchanges[self.played - 1][1:]:
                self.socket.sendto(reply, peer)

    def over_tcp(self):
        while not self.is_over:
            try:
                stream, _ = self.socket.accept()
            except socket.timeout:
                continue
            try:
                with stream:
                    self.converse(stream)
            except OSError:  # The client has hung up.
                pass

    def converse(self, stream):
        """A connection; a client may make one after the other, until it gives up."""
        stream.settimeout(PATIENCE)
        for self.played, (expected, *replies) in enumerate(self.exchanges):
            message = stream.recv(len(expected), socket.MSG_WAITALL)
            if message != expected:
                self.wrong = f"sends {message}"
                return
            for piece in replies:
                stream.sendall(piece)
                time.sleep(0.01)  # so that it arrives alone
        self.played = len(self.exchanges)
        stream.shutdown(socket.SHUT_WR)
        while stream.recv(256):
            pass


def main():
    command, transports = sys.argv[1:], ["udp", "tcp"]
    if command[:1] == ["--udp"]:
        command, transports = command[1:], ["udp"]
    if not command:
        sys.exit(__doc__)
    played = [conversation for conversation in conversations() if conversation[2] in transports]
    with concurrent.futures.ThreadPoolExecutor(16) as pool:
        results = list(pool.map(lambda conversation: check(command, *conversation), played))
    wrong = [result for result in results if result]
    print(*wrong, f"{len(results) - len(wrong)} of {len(results)} vectors are met", sep="\n")
    sys.exit(bool(wrong))


if __name__ == "__main__":
    main()
