"""The cases that h1spec and Http11Probe test, and more of their kinds, as one table: what is sent, and what is right.

`right` is what RFC 9110 and 9112 ask for in the section that is named. Where they leave a choice, or we do otherwise on
purpose, `choice` says why; docs/dataplane.md lists these rows, and a test holds the two together.
"""

from dataclasses import dataclass
from enum import Enum

BODY = b'{"model":"nobody","messages":[]}'  # an answer of 400 or 404: it has no messages, and there is no such route
SIZE = b"%d" % len(BODY)
CHAT = b"/v1/chat/completions"
HOST = b"host: a\r\n"
CHUNKED = b"transfer-encoding: chunked\r\n"
CHUNKS = b"%x\r\n%b\r\n0\r\n\r\n" % (len(BODY), BODY)
SMUGGLED = b"GET /smuggled HTTP/1.1\r\nhost: a\r\n\r\n"


class Right(Enum):
    """What the RFCs allow."""

    TAKEN = "answered as a request"
    REFUSED = "refused with a status of 400 or more, nothing of it is handed on, and the connection closes"
    EITHER = "taken or refused, and never read as two requests"
    AWAITED = "not answered: there is more to come"


@dataclass(frozen=True, slots=True)
class Case:
    """`does`: the statuses that we answer, in order. `hands_on`: bodies of the requests that reach the application.

    `stays`: whether the connection is open afterwards.
    """

    name: str
    section: str
    sent: bytes
    right: Right
    does: tuple[int, ...]
    hands_on: tuple[bytes, ...] = ()
    stays: bool = False
    choice: str = ""


def get(lines: bytes = b"", target: bytes = b"/healthz", host: bytes = HOST, version: bytes = b"HTTP/1.1") -> bytes:
    return b"GET %b %b\r\n%b%b\r\n" % (target, version, host, lines)


def post(lines: bytes, body: bytes = BODY, version: bytes = b"HTTP/1.1") -> bytes:
    return b"POST %b %b\r\n%b%b\r\n%b" % (CHAT, version, HOST, lines, body)


def chunks(body: bytes, lines: bytes = CHUNKED) -> bytes:
    return post(lines, body)


def length(value: bytes, body: bytes = BODY) -> bytes:
    return post(b"content-length:%b\r\n" % value, body)


def taken(
    name: str, section: str, sent: bytes, *does: int, body: bytes = b"", choice: str = "", stays: bool = True
) -> Case:
    """A row that is answered as one request, or as several without a body."""
    does = does or (200,)
    return Case(name, section, sent, Right.TAKEN, does, (body,) * len(does), stays, choice)


def refused(name: str, section: str, sent: bytes, status: int = 400, choice: str = "") -> Case:
    return Case(name, section, sent, Right.REFUSED, (status,), (), False, choice)


def strict(name: str, section: str, sent: bytes, choice: str, status: int = 400) -> Case:
    """A row that may be taken or refused, and that we refuse."""
    return Case(name, section, sent, Right.EITHER, (status,), (), False, choice)


def lax(
    name: str, section: str, sent: bytes, choice: str, status: int = 200, body: bytes = b"", stays: bool = True
) -> Case:
    """A row that may be taken or refused, and that we take."""
    return Case(name, section, sent, Right.EITHER, (status,), (body,), stays, choice)


def awaited(name: str, section: str, sent: bytes) -> Case:
    return Case(name, section, sent, Right.AWAITED, (), (), True)


# A request that no route knows, by what it came to: its body was read and handed on.
READ = 400

WHOLE = get()
BLANKS = "white space may divide the words of the request line; the target that is read has none"
FRAGMENTS = [awaited(f"fragment of {end} bytes", "9112, 2.2", WHOLE[:end]) for end in range(1, len(WHOLE))]

REQUEST_LINES = [
    taken("plain GET", "9112, 3", get()),
    taken("empty value and tab before one", "9112, 5", get(b"empty:\r\nx-a:\tb\r\n")),
    refused("no version", "9112, 3", b"GET /healthz\r\n\r\n"),
    refused("HTTP/0.9", "9112, 3", b"GET /healthz\r\nhost: a\r\n\r\n"),
    refused("no target", "9112, 3", b"GET HTTP/1.1\r\nhost: a\r\n\r\n"),
    lax("two blanks before the target", "9112, 3", b"GET  /healthz HTTP/1.1\r\nhost: a\r\n\r\n", BLANKS),
    lax("two blanks before the version", "9112, 3", b"GET /healthz  HTTP/1.1\r\nhost: a\r\n\r\n", BLANKS),
    refused("a tab between", "9112, 3", b"GET\t/healthz HTTP/1.1\r\nhost: a\r\n\r\n"),
    refused("a blank in the target", "9112, 3.2", get(target=b"/heal thz")),
    refused("a blank after the version", "9112, 2.3", get(version=b"HTTP/1.1 ")),
    refused("HTTP/9.9", "9112, 2.3", get(version=b"HTTP/9.9")),
    refused("HTTP/2.0", "9112, 2.3", get(version=b"HTTP/2.0"), 505),
    refused("HTTP/1", "9112, 2.3", get(version=b"HTTP/1")),
    refused("HTTP/1.", "9112, 2.3", get(version=b"HTTP/1.")),
    refused("HTTP/01.01", "9112, 2.3", get(version=b"HTTP/01.01")),
    refused("HTTP/1.10", "9112, 2.3", get(version=b"HTTP/1.10")),
    refused("http/1.1", "9112, 2.3", get(version=b"http/1.1")),
    refused("another protocol's name", "9112, 2.3", get(version=b"ICE/1.0")),
    strict("HTTP/1.2", "9110, 2.5", get(version=b"HTTP/1.2"), "1.0 and 1.1 are all that was ever published"),
    refused("a prefix before the method", "9112, 3", b"Extra line" + get()),
    refused("HTTP/2's preface", "9113, 3.4", b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"),
    refused("TLS", "9112, 3", b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03"),
    refused("bytes at random", "9112, 3", bytes(range(128, 200))),
    refused("a lower-case method", "9110, 9.1", b"get /healthz HTTP/1.1\r\nhost: a\r\n\r\n"),
    refused("an unknown method", "9110, 9.1", b"FOOBAR /healthz HTTP/1.1\r\nhost: a\r\n\r\n"),
    refused("a method of 5,000 letters", "9110, 9.1", b"A" * 5000 + b" /healthz HTTP/1.1\r\nhost: a\r\n\r\n"),
    refused("CONNECT", "9110, 9.3.6", b"CONNECT b:443 HTTP/1.1\r\nhost: b:443\r\n\r\n", 405),
    taken("TRACE", "9110, 9.3.8", b"TRACE /healthz HTTP/1.1\r\nhost: a\r\n\r\n", 405),
    taken("DELETE where GET is known", "9110, 15.5.6", b"DELETE /healthz HTTP/1.1\r\nhost: a\r\n\r\n", 405),
    taken("GET where POST is known", "9110, 15.5.6", get(target=CHAT), 405),
    taken("HEAD", "9110, 9.3.2", b"HEAD /healthz HTTP/1.1\r\nhost: a\r\n\r\n"),
    taken("HEAD of what is not there", "9110, 9.3.2", b"HEAD /none HTTP/1.1\r\nhost: a\r\n\r\n", 404),
    taken("OPTIONS", "9110, 9.3.7", b"OPTIONS /healthz HTTP/1.1\r\nhost: a\r\n\r\n", 405),
    taken("OPTIONS *", "9110, 9.3.7", b"OPTIONS * HTTP/1.1\r\nhost: a\r\n\r\n", 404,
          choice="methods but GET and HEAD are optional (9110, 9.1); nothing is known of the server as a whole"),
    refused("GET *", "9112, 3.2.4", get(target=b"*")),
    taken("absolute form", "9112, 3.2.2", get(target=b"http://a/healthz")),
    taken("absolute form without a path", "9112, 3.2.2", get(target=b"http://a")),
    taken("absolute form, another host", "9112, 3.2.2", get(target=b"http://b/healthz")),
    taken("absolute form without a Host in 1.0", "9112, 3.2.2",
          get(target=b"http://a/healthz", host=b"", version=b"HTTP/1.0"), stays=False),
    refused("absolute form without a Host", "9112, 3.2", get(target=b"http://a/healthz", host=b"")),
    refused("authority form with GET", "9112, 3.2.3", get(target=b"a:80")),
    refused("a target without a slash", "9112, 3.2.1", get(target=b"healthz")),
    refused("absolute form of no host", "9110, 4.2.1", get(target=b"http:///healthz")),
    refused("absolute form of another scheme", "9112, 3.2.2", get(target=b"ftp://a/healthz")),
    refused("a fragment in absolute form", "9112, 3.2", get(target=b"http://a/healthz#b")),
    refused("a fragment in the target", "9112, 3.2", get(target=b"/healthz#a")),
    refused("bytes above ASCII in the target", "9112, 3.2", get(target=b"/caf\xc3\xa9")),
    refused("overlong UTF-8 in the target", "9112, 3.2", get(target=b"/\xc0\xaf")),
    refused("NUL in the target", "9112, 3.2", get(target=b"/a\x00b")),
    refused("a control character in the target", "9112, 3.2", get(target=b"/a\x01b")),
    refused("DEL in the target", "9112, 3.2", get(target=b"/a\x7fb")),
    taken("%00 in the target", "3986, 2.1", get(target=b"/a%00b"), 404),
    taken("%0d%0a in the target", "3986, 2.1", get(target=b"/a%0d%0ax:y"), 404),
    taken("a backslash in the target", "3986, 3.3", get(target=b"/a\\b"), 404),
    taken("dots in the target", "3986, 6.2.2", get(target=b"/../healthz"), 404),
    taken("a target of 8,000 bytes", "9112, 3", get(target=b"/" + b"a" * 7999), 404),
    refused("a target of 9,000 bytes", "9110, 15.5.15", get(target=b"/" + b"a" * 8999), 414),
    taken("an empty line first", "9112, 2.2", b"\r\n" + get()),
    taken("several empty lines first", "9112, 2.2", b"\r\n\r\n\r\n" + get()),
]  # fmt: skip

LINES = [
    refused("bare LF after the request line", "9112, 2.2", b"GET /healthz HTTP/1.1\nhost: a\r\n\r\n"),
    refused("bare LF after a header", "9112, 2.2", b"GET /healthz HTTP/1.1\r\nhost: a\nx: y\r\n\r\n"),
    refused("bare LF at the end", "9112, 2.2", b"GET /healthz HTTP/1.1\r\nhost: a\r\n\n"),
    refused("bare LFs only", "9112, 2.2", b"GET /healthz HTTP/1.1\nhost: a\n\n"),
    refused("bare CR after the request line", "9112, 2.2", b"GET /healthz HTTP/1.1\rhost: a\r\n\r\n"),
    refused("bare CR after a header", "9112, 2.2", b"GET /healthz HTTP/1.1\r\nhost: a\rx: y\r\n\r\n"),
    refused("bare CR in a value", "9110, 5.5", get(b"x: a\rb\r\n")),
    refused("bare CR before a name", "9112, 2.2", get(b"\rx: a\r\n")),
    refused("CR CR LF", "9112, 2.2", get(b"x: a\r\r\n")),
    refused("a blank before the first header", "9112, 2.2", b"GET /healthz HTTP/1.1\r\n host: a\r\n\r\n"),
    refused("a line of blanks", "9112, 5.2", get(b" \r\n")),
    refused("a folded header", "9112, 5.2", get(b"x: a\r\n b\r\n")),
    refused("a header folded by a tab", "9112, 5.2", get(b"x: a\r\n\tb\r\n")),
    refused("a folded header without a value", "9112, 5.2", get(b"x:\r\n b\r\n")),
    refused("a blank before the colon", "9112, 5.1", get(b"x : a\r\n")),
    refused("a tab before the colon", "9112, 5.1", get(b"x\t: a\r\n")),
    refused("a blank before Host's colon", "9112, 5.1", get(host=b"host : a\r\n")),
    refused("no colon", "9112, 5", get(b"nocolon\r\n")),
    refused("an empty name", "9112, 5", get(b": a\r\n")),
    refused("a blank in a name", "9110, 5.1", get(b"x y: a\r\n")),
    refused("a tab in a name", "9110, 5.1", get(b"x\ty: a\r\n")),
    refused("brackets in a name", "9110, 5.1", get(b"x[]: a\r\n")),
    refused("a name above ASCII", "9110, 5.1", get(b"caf\xc3\xa9: a\r\n")),
    refused("NUL in a name", "9110, 5.1", get(b"x\x00: a\r\n")),
    refused("NUL in a value", "9110, 5.5", get(b"x: a\x00b\r\n")),
    refused("a bell in a value", "9110, 5.5", get(b"x: a\x07b\r\n")),
    refused("DEL in a value", "9110, 5.5", get(b"x: a\x7fb\r\n")),
    taken("a value above ASCII", "9110, 5.5", get(b"x: caf\xc3\xa9\r\n")),
    taken("an unknown header", "9110, 5.1", get(b"x-unknown: a\r\n")),
    taken("every character that a name may have", "9110, 5.6.2", get(b"!#$%&'*+-.^_`|~09azAZ: a\r\n")),
    taken("300 headers", "9110, 5.4", get(b"x: a\r\n" * 300)),
    refused("100 KiB of headers", "6585, 5", get(b"".join(b"x-%d: %b\r\n" % (n, b"a" * 1000) for n in range(100))), 431),
    refused("a header of 100 KiB", "6585, 5", get(b"x: %b\r\n" % (b"a" * 100_000)), 431),
    refused("a header without an end", "6585, 5", get(b"x: %b" % (b"a" * (1 << 20))), 431),
    refused("a name of 100 KiB", "6585, 5", get(b"%b: x\r\n" % (b"a" * 100_000)), 431),
]  # fmt: skip

HOSTS = [
    refused("no Host", "9112, 3.2", get(host=b"")),
    taken("no Host in 1.0", "9112, 3.2", get(host=b"", version=b"HTTP/1.0"), stays=False),
    refused("Host twice", "9112, 3.2", get(host=b"host: a\r\nhost: b\r\n")),
    refused("the same Host twice", "9112, 3.2", get(host=HOST * 2)),
    refused("Host twice in 1.0", "9112, 3.2", get(host=HOST * 2, version=b"HTTP/1.0")),
    refused("two hosts in one", "9112, 3.2", get(host=b"host: a, b\r\n")),
    refused("a user in Host", "9110, 7.2", get(host=b"host: u@a\r\n")),
    refused("a path in Host", "9110, 7.2", get(host=b"host: a/b\r\n")),
    refused("a query in Host", "9110, 7.2", get(host=b"host: a?b\r\n")),
    refused("a scheme in Host", "9110, 7.2", get(host=b"host: http://a\r\n")),
    refused("a blank in Host", "9110, 7.2", get(host=b"host: a b\r\n")),
    refused("a port of letters", "9110, 7.2", get(host=b"host: a:b\r\n")),
    refused("an open bracket in Host", "9110, 7.2", get(host=b"host: [::1\r\n")),
    taken("Host with a port", "9110, 7.2", get(host=b"host: a:80\r\n")),
    taken("Host of IPv6", "9110, 7.2", get(host=b"host: [::1]:80\r\n")),
    taken("an empty Host", "9110, 7.2", get(host=b"host:\r\n")),
    taken("HOST, and blanks around its value", "9110, 5.6.3", get(host=b"HOST: \t a \t\r\n")),
]

LENGTHS = [
    taken("a body of known length", "9112, 6.2", length(b" " + SIZE), READ, body=BODY),
    taken("no body", "9112, 6.3", post(b"", b""), 400),
    taken("a length of 0", "9112, 6.2", length(b" 0", b""), 400),
    awaited("a body that is not whole", "9112, 6.2", length(b" " + SIZE, BODY[:-1])),
    taken("a tab before the length", "9110, 5.6.3", length(b"\t" + SIZE), READ, body=BODY),
    taken("blanks around the length", "9110, 5.6.3", length(b"  %b \t" % SIZE), READ, body=BODY),
    *(
        refused(f"a length of {value!r}", "9112, 6.3", length(b" " + value))
        for value in (
            b"", b"abc", b"-1", b"-0", b"-123456789123456789123456789", b"+5", b"0x20", b"0o40", b"3 2", b"3_2", b"32.0", b"1e1",
            b"32,33", b"32, 33", b",32", b"32,", b"99999999999999999999999", b"18446744073709551648", b"\xc2\xb2", b"\x0b32",
            b"32\x0c", b"32;a", b"'32'", b"32\x00",
        )
    ),
    refused("the same length twice in a list", "9112, 6.3", length(b" %b, %b" % (SIZE, SIZE))),
    refused("the same length three times in a list", "9112, 6.3", length(b" %b,%b,%b" % (SIZE, SIZE, SIZE))),
    refused("the same length twice", "9112, 6.3", post(b"content-length: %b\r\ncontent-length: %b\r\n" % (SIZE, SIZE))),
    refused("two lengths", "9112, 6.3", post(b"content-length: 0\r\ncontent-length: %b\r\n" % SIZE)),
    refused("two lengths around a smuggled GET", "9112, 6.3", post(b"content-length: 36\r\ncontent-length: 0\r\n", SMUGGLED)),
    lax("a length with zeros before it", "9110, 8.6", length(b" 000" + SIZE),
        "1*DIGIT allows them, and all read them as decimal",
        READ, BODY),
    lax("a length of 00", "9110, 8.6", length(b" 00", b""), "1*DIGIT allows it", 400),
    taken("a length like an octal one", "9110, 8.6", length(b" 0040", BODY + b"12345678"), READ, body=BODY + b"12345678"),
    refused("a blank before the length's colon", "9112, 5.1", post(b"content-length : %b\r\n" % SIZE)),
    refused("a folded length", "9112, 5.2", post(b"content-length:\r\n %b\r\n" % SIZE)),
    taken("content_length is another header", "9110, 5.1", get(b"content_length: 30\r\n")),
    refused("more than is accepted", "9110, 15.5.14", length(b" 99999999999", b""), 413),
    taken("GET with a body", "9110, 9.3.1", get(b"content-length: 3\r\n") + b"abc", body=b"abc"),
    taken("GET with a request for a body", "9112, 6.3", get(b"content-length: %d\r\n" % len(SMUGGLED)) + SMUGGLED,
          body=SMUGGLED),
    taken("HEAD with a body", "9110, 9.3.2", b"HEAD /healthz HTTP/1.1\r\nhost: a\r\ncontent-length: 3\r\n\r\nabc", body=b"abc"),
    taken("OPTIONS with a body", "9110, 9.3.7",
          b"OPTIONS /healthz HTTP/1.1\r\nhost: a\r\ncontent-length: 3\r\n\r\nabc", 405, body=b"abc"),
    Case("a request after a length of 0", "9112, 6.2", length(b" 0", SMUGGLED), Right.TAKEN, (400, 404), (b"", b""), True),
    Case("rubbish after a length of 0", "9112, 3", length(b" 0", b"\x01"), Right.TAKEN, (400, 400), (b"",)),
]  # fmt: skip

ENCODINGS = [
    taken("chunks", "9112, 7.1", chunks(CHUNKS), READ, body=BODY),
    taken("CHUNKED", "9110, 5.1", chunks(CHUNKS, b"Transfer-Encoding: CHUNKED\r\n"), READ, body=BODY),
    taken("blanks around chunked", "9110, 5.6.3", chunks(CHUNKS, b"transfer-encoding: \t chunked \r\n"), READ, body=BODY),
    refused("a tab after chunked", "9110, 5.6.3", chunks(CHUNKS, b"transfer-encoding: chunked\t\r\n"), 400,
            choice="no client writes it, and who takes it off and who does not is how requests are smuggled"),
    *(
        refused(f"length and chunks: {name}", "9112, 6.1", sent)
        for name, sent in (
            ("length first", chunks(CHUNKS, b"content-length: %b\r\n%b" % (SIZE, CHUNKED))),
            ("chunks first", chunks(CHUNKS, b"%bcontent-length: %b\r\n" % (CHUNKED, SIZE))),
            ("other case", chunks(CHUNKS, b"content-LengtH: 5\r\nTransFer-Encoding: chunked\r\n")),
            ("a length of 0", chunks(CHUNKS, b"content-length: 0\r\n" + CHUNKED)),
            ("a smuggled GET", chunks(b"0\r\n\r\n" + SMUGGLED, b"content-length: 41\r\n" + CHUNKED)),
            ("a smuggled GET, a closing connection", chunks(b"0\r\n\r\n" + SMUGGLED,
                                                            b"connection: close\r\ncontent-length: 41\r\n" + CHUNKED)),
            ("a poisoned rest", chunks(b"0\r\n\r\nX", b"content-length: 6\r\n" + CHUNKED)),
            ("a length that is none", chunks(CHUNKS, b"content-length: abc\r\n" + CHUNKED)),
            ("a length of +5", chunks(CHUNKS, b"content-length: +5\r\n" + CHUNKED)),
            ("the name named by connection", chunks(CHUNKS, b"connection: content-length\r\ncontent-length: 5\r\n" + CHUNKED)),
        )
    ),
    *(
        refused(f"transfer-encoding: {value!r}", section, chunks(CHUNKS, b"transfer-encoding: %b\r\n" % value), status)
        for value, section, status in (
            *((value, "9112, 6.3", 400) for value in (
                b"xchunked", b"chunkedx", b"gzip", b"identity", b"chunked, identity", b"chunked, gzip", b"chunked;a=b",
                b'"chunked"', b"chunked chunked", b"chun ked", b"chunked, chunked", b",chunked", b"chunked,", b"",
            )),
            *((value, "9110, 5.5", 400) for value in (b"\x0bchunked", b"\x0cchunked", b"chunked\x00", b"chunked\x0b")),
            (b"gzip, chunked", "9112, 6.1", 501), (b"identity, chunked", "9112, 6.1", 501),
            (b"deflate , chunked",
             "9112, 6.1", 501),
        )
    ),
    refused("an encoding that is not known alone", "9112, 6.1", post(b"transfer-encoding: foo\r\n", b"")),
    refused("chunked twice", "9112, 6.1", chunks(CHUNKS, CHUNKED * 2)),
    refused("chunked and identity apart", "9112, 6.1", chunks(CHUNKS, CHUNKED + b"transfer-encoding: identity\r\n")),
    refused("identity and chunked apart", "9112, 6.1", chunks(CHUNKS, b"transfer-encoding: identity\r\n" + CHUNKED)),
    refused("a blank before its colon", "9112, 5.1", chunks(CHUNKS, b"transfer-encoding : chunked\r\n")),
    refused("folded", "9112, 5.2", chunks(CHUNKS, b"transfer-encoding:\r\n chunked\r\n")),
    refused("folded after it", "9112, 5.2", chunks(CHUNKS, b"transfer-encoding: chunked\r\n identity\r\n")),
    refused("chunks in 1.0", "9112, 6.1", post(CHUNKED, CHUNKS, b"HTTP/1.0")),
    refused("chunks and length in 1.0", "9112, 6.1", post(b"content-length: 5\r\n" + CHUNKED, CHUNKS, b"HTTP/1.0")),
    taken("transfer_encoding is another header", "9110, 5.1", get(b"transfer_encoding: chunked\r\n")),
    taken("GET with chunks", "9110, 9.3.1", get(CHUNKED) + CHUNKS, stays=False),
    taken("no chunk", "9112, 7.1", chunks(b"0\r\n\r\n"), 400),
    Case("a request after the last chunk", "9112, 7.1", chunks(CHUNKS + SMUGGLED), Right.TAKEN, (READ, 404), (BODY, b""), True),
]  # fmt: skip

TEXT = b"abcdefghijklmnopqrstuvwxyzabcdef"
PIECES = [
    taken("sizes in capitals", "9112, 7.1", chunks(b"1F\r\n%b\r\n1\r\n}\r\n0\r\n\r\n" % BODY[:31]), READ, body=BODY),
    taken("several chunks", "9112, 7.1", chunks(b"1\r\n{\r\n1f\r\n%b\r\n0\r\n\r\n" % BODY[1:]), READ, body=BODY),
    taken("zeros before a size", "9112, 7.1", chunks(b"0020\r\n%b\r\n000\r\n\r\n" % BODY), READ, body=BODY),
    awaited("no last chunk", "9112, 7.1", chunks(b"20\r\n%b\r\n" % BODY)),
    awaited("no empty line at the end", "9112, 7.1", chunks(b"20\r\n%b\r\n0\r\n" % BODY)),
    taken("an extension", "9112, 7.1.1", chunks(b"20;a=b\r\n%b\r\n0;c\r\n\r\n" % BODY), READ, body=BODY),
    taken("an extension in quotes", "9112, 7.1.1", chunks(b'20;a="b;c"\r\n%b\r\n0\r\n\r\n' % BODY), READ, body=BODY),
    refused("an extension of 1 MiB", "9112, 7.1.1", chunks(b"20;a=%b\r\n%b\r\n0\r\n\r\n" % (b"b" * (1 << 20), BODY))),
    *(
        refused(f"a chunk size of {line[:20]!r}", "9112, 7.1", chunks(b"%b\r\n%b\r\n0\r\n\r\n" % (line, BODY)))
        for line in (
            b"", b"g", b"0x20", b"-20", b"+20", b" 20", b"\t20", b"2 0", b"2_0", b"20h", b"20,20", b"ffffffffffffffff1",
            b"10000000000000020", b"\xc2\xb2", b"20.0",
        )
    ),
    refused("a blank after a size", "9112, 7.1", chunks(b"20 \r\n%b\r\n0\r\n\r\n" % BODY)),
    refused("a semicolon alone", "9112, 7.1.1", chunks(b"20;\r\n%b\r\n0\r\n\r\n" % BODY)),
    refused("LF after a size", "9112, 2.2", chunks(b"20\n%b\r\n0\r\n\r\n" % BODY)),
    refused("CR after a size", "9112, 2.2", chunks(b"20\r%b\r\n0\r\n\r\n" % BODY)),
    refused("LF in an extension", "9112, 7.1.1", chunks(b"20;a\nb\r\n%b\r\n0\r\n\r\n" % BODY)),
    refused("CR in an extension", "9112, 7.1.1", chunks(b"20;a\rb\r\n%b\r\n0\r\n\r\n" % BODY)),
    refused("NUL in an extension", "9112, 7.1.1", chunks(b"20;a\x00\r\n%b\r\n0\r\n\r\n" % BODY)),
    refused("an extension's name that is none", "9112, 7.1.1", chunks(b"20;[=a\r\n%b\r\n0\r\n\r\n" % BODY)),
    refused("LF after a chunk", "9112, 7.1", chunks(b"20\r\n%b\n0\r\n\r\n" % BODY)),
    refused("CR after a chunk", "9112, 7.1", chunks(b"20\r\n%b\r0\r\n\r\n" % BODY)),
    refused("nothing after a chunk", "9112, 7.1", chunks(b"20\r\n%b0\r\n\r\n" % BODY)),
    refused("more in a chunk than it says", "9112, 7.1", chunks(b"20\r\n%bxx\r\n0\r\n\r\n" % BODY)),
    refused("LF at the end of chunks", "9112, 2.2", chunks(b"20\r\n%b\r\n0\r\n\n" % BODY)),
    refused("LF after the last chunk", "9112, 2.2", chunks(b"20\r\n%b\r\n0\n\r\n" % BODY)),
    *(
        taken(f"a trailer {line!r}", "9110, 6.5.1", chunks(b"20\r\n%b\r\n0\r\n%b\r\n\r\n" % (BODY, line)), READ, body=BODY)
        for line in (
            b"x: y", b"authorization: Bearer a", b"host: evil", b"content-type: text/plain", b"expect: 100-continue",
            b"upgrade: h2c", b"connection: upgrade\r\nupgrade: h2c", b"content-encoding: gzip",
        )
    ),
    *(
        strict(f"a trailer {line!r}", "9110, 6.5.1", chunks(b"20\r\n%b\r\n0\r\n%b\r\n\r\n" % (BODY, line)),
               "framing must not stand in trailers: whoever sends it may have other readers in mind")
        for line in (b"content-length: 5", b"transfer-encoding: chunked", b"content-length: abc")
    ),
    lax("a trailer b'connection: close'", "9110, 6.5.1", chunks(b"20\r\n%b\r\n0\r\nconnection: close\r\n\r\n" % BODY),
        "the answer is whole, and the connection closes after it", READ, BODY, stays=False),
    refused("LF after a trailer", "9112, 2.2", chunks(b"20\r\n%b\r\n0\r\nx: y\n\r\n" % BODY)),
    refused("a blank before a trailer's colon", "9112, 5.1", chunks(b"20\r\n%b\r\n0\r\nx : y\r\n\r\n" % BODY)),
    refused("a folded trailer", "9112, 5.2", chunks(b"20\r\n%b\r\n0\r\nx: y\r\n z\r\n\r\n" % BODY)),
    refused("100 KiB of trailers", "6585, 5",
            chunks(b"20\r\n%b\r\n0\r\n%b\r\n" % (BODY, b"x: %b\r\n" % (b"y" * 1000) * 100)), 431),
]  # fmt: skip

CONNECTIONS = [
    taken("connection: close", "9112, 9.6", get(b"connection: close\r\n"), stays=False),
    taken("connection: Close, in a list", "9112, 9.6", get(b"connection: x, Close\r\n"), stays=False),
    taken("1.0 closes", "9112, 9.3", get(version=b"HTTP/1.0"), stays=False),
    taken("a pipeline", "9112, 9.3.2", get() * 3, 200, 200, 200),
    Case("a pipeline in order", "9112, 9.3.2", get() + get(target=b"/none") + length(b" " + SIZE) + get(), Right.TAKEN,
         (200, 404, READ, 200), (b"", b"", BODY, b""), True),
    Case("what follows the last request is not read", "9112, 9.6", get(b"connection: close\r\n") + SMUGGLED,
         Right.TAKEN, (200,),
         (b"",)),
    Case("a pipeline that breaks", "9112, 9.3.2", get() + b"\x01\r\n\r\n", Right.TAKEN, (200, 400), (b"",)),
    Case("Expect: 100-continue", "9110, 10.1.1", length(b" %b\r\nexpect: 100-continue" % SIZE, b""), Right.AWAITED,
         (100,), (), True),
    Case("Expect, and the body at once", "9110, 10.1.1", length(b" %b\r\nexpect: 100-continue" % SIZE), Right.TAKEN,
         (100, READ),
         (BODY,), True),
    taken("Expect without a body", "9110, 10.1.1", get(b"expect: 100-continue\r\n")),
    Case("Expect: 100-Continue", "9110, 10.1.1", length(b" %b\r\nexpect: 100-Continue" % SIZE), Right.TAKEN, (100, READ),
         (BODY,), True),
    refused("an expectation that nobody knows", "9110, 10.1.1", length(b" %b\r\nexpect: a-pony" % SIZE), 417),
    lax("an expectation without a body", "9110, 10.1.1", get(b"expect: a-pony\r\n"),
        "417 may be said; there is no body to hold back"),
    taken("Expect in 1.0", "9110, 10.1.1", post(b"content-length: %b\r\nexpect: 100-continue\r\n" % SIZE, version=b"HTTP/1.0"),
          READ, body=BODY, stays=False),
    taken("an upgrade to a protocol that nobody knows", "9110, 7.8", get(b"connection: upgrade\r\nupgrade: a-pony\r\n")),
    taken("an upgrade without connection", "9110, 7.8", get(b"upgrade: websocket\r\n")),
    taken("an upgrade to websocket", "9110, 7.8",
          get(b"connection: upgrade\r\nupgrade: websocket\r\nsec-websocket-version: 99\r\n")),
    taken("an upgrade to h2c", "9110, 7.8",
          get(b"connection: upgrade, http2-settings\r\nupgrade: h2c\r\nhttp2-settings: a\r\n")),
    taken("an upgrade with a body", "9110, 7.8",
          post(b"connection: upgrade\r\nupgrade: h2c\r\ncontent-length: %b\r\n" % SIZE), READ,
          body=BODY),
    taken("an upgrade with chunks", "9110, 7.8", post(b"connection: upgrade\r\nupgrade: h2c\r\n" + CHUNKED, CHUNKS),
          READ, body=BODY),
    taken("an upgrade in 1.0", "9110, 7.8", get(b"connection: upgrade\r\nupgrade: h2c\r\n", version=b"HTTP/1.0"), stays=False),
    Case("an upgrade in a pipeline", "9110, 7.8", get(b"connection: upgrade\r\nupgrade: h2c\r\n") + get(),
         Right.TAKEN, (200, 200),
         (b"", b""), True),
    refused("an upgrade around length and chunks", "9112, 6.1",
            post(b"connection: upgrade\r\nupgrade: h2c\r\ncontent-length: 41\r\n" + CHUNKED, b"0\r\n\r\n" + SMUGGLED)),
    refused("an upgrade with two lengths", "9112, 6.3",
            post(b"connection: upgrade\r\nupgrade: h2c\r\ncontent-length: 0\r\ncontent-length: 36\r\n", SMUGGLED)),
    taken("Range is not known", "9110, 14.2", get(b"range: bytes=0-1\r\n")),
    taken("Accept that nothing meets", "9110, 12.5.1", get(b"accept: a/b\r\n")),
    taken("many cookies", "6265, 4.2", get(b"cookie: a=b\r\ncookie: ; =;\r\n")),
    refused("NUL in a cookie", "9110, 5.5", get(b"cookie: a=\x00\r\n")),
    refused("a content type twice", "9110, 5.3", length(b" %b\r\ncontent-type: a/b\r\ncontent-type: c/d" % SIZE)),
    refused("two credentials", "9110, 5.3", get(b"authorization: Bearer a\r\nauthorization: Bearer b\r\n")),
    awaited("nothing", "9112, 9.8", b""),
]  # fmt: skip

CASES = [*REQUEST_LINES, *LINES, *HOSTS, *LENGTHS, *ENCODINGS, *PIECES, *CONNECTIONS, *FRAGMENTS]
