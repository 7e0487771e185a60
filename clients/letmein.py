"""Logs in: python3 letmein.py [--tcp] [--timeout SECONDS] [--password-file FILE] HOST:PORT USER, or with login()."""
import getopt, hashlib, random, re, select, socket, sys, time
VERDICTS = [b"Welcome to our service.", b"User authorization failed."]

def login(host, port, name, password, tcp=False, timeout=15.0):
    """Whether the server welcomes the user. Raises OSError without a verdict, RuntimeError if replies conflict."""
    if not re.fullmatch(rb"(?! )[^\0-\x1f\x7f:]{1,64}(?<! )\0[^\0]{1,128}", f"{name}\0{password}".encode()):
        raise ValueError("the name or the password is empty or too long, or has a character that is not allowed there")
    addresses = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM if tcp else socket.SOCK_DGRAM)
    for family, kind, _, _, address in addresses:
        try:
            with socket.socket(family, kind) as server:
                end = time.monotonic() + timeout / len(addresses)
                server.settimeout(timeout / len(addresses))
                server.connect(address)  # From now on it hears nobody but the server.
                return converse(server, tcp, name.encode(), password.encode(), end) == VERDICTS[0]
        except OSError:
            if address is addresses[-1][-1]:
                raise

def converse(server, tcp, name, password, end):
    start, due, requests, sends, message, reply = time.monotonic(), 0, 0, 0, b"Authentication Request", b""
    heard, challenges, answered, verdicts = None, set(), set(), set()
    while (now := time.monotonic()) < (due if heard else end):  # After a verdict it waits for one that contradicts it.
        if now >= due:
            server.sendall(message)
            due = end if tcp else min(end, now + min(1, 0.25 * 1.5 ** sends) * random.uniform(0.9, 1.1))
            requests, sends = requests + (not answered), sends + 1
        if not select.select([server], [], [], max(0, due - now))[0]: continue
        data = server.recv(64)
        if tcp and (not data or len(reply) > 30):
            raise ConnectionError("the server hung up, or speaks another protocol")
        reply = reply + data if tcp else data
        new = re.fullmatch(b"(New challenge )?([0-9a-f]{16})", reply)
        fresh = new and bool(new[1]) == bool(answered) and new[2] not in answered
        challenges |= {reply} if new and not new[1] else set()
        if answered and reply in VERDICTS:
            verdicts, heard = verdicts | {reply}, heard or time.monotonic()
        if (len(challenges) > min(32, 2 * requests) or len(verdicts) > 1
                or fresh and (len(answered) > 5 or heard and sends == len(answered) == 1)):
            raise RuntimeError("the replies cannot all be those of one server: somebody may be forging its address")
        if fresh:
            message = b"%b:%b:%b" % (name, hashlib.md5(name + password + new[2]).hexdigest().encode(), new[2])
            answered, reply, due, sends, heard = answered | {new[2]}, b"", 0, 0, None
        elif heard:
            due = 0 if tcp else min(end, heard + max(min(heard - start, 0.1), 0.25 if len(challenges) > 1 else 0.002))
    if not heard: raise TimeoutError("no verdict in time")
    return verdicts.pop()

if __name__ == "__main__":
    try:
        options, (server, name) = getopt.getopt(sys.argv[1:], "", ["tcp", "timeout=", "password-file="])
        options, [(host, port)] = dict(options), re.findall(r"^\[?(.+?)]?:(\d+)$", server)
        password = open(options.get("--password-file", 0), "rb").readline(131).rstrip(b"\r\n").decode()
        welcome = login(host, port, name, password, "--tcp" in options, float(options.get("--timeout", 15)))
        print(VERDICTS[not welcome].decode())
        sys.exit(not welcome)
    except Exception as error:
        print("letmein.py:", error if isinstance(error, OSError) else f"{error}\n{__doc__}", file=sys.stderr)
        sys.exit(3 if isinstance(error, (OSError, RuntimeError)) and not getattr(error, "filename", None) else 2)
