"""What the simulated shop's services log: everyday lines, their rates, and the lines that come with trouble.

Data only. A text's `<field>` is filled from connectors.world_fields; rates are lines a minute at average traffic.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from models.log import Severity

__all__ = ["CRON_JOBS", "EVERYDAY", "NOVEL", "START_UP", "SYMPTOMS", "CronJob", "Line", "Symptom"]

_DEBUG, _INFO, _WARN, _ERROR, _FATAL = (
    Severity.DEBUG,
    Severity.INFO,
    Severity.WARNING,
    Severity.ERROR,
    Severity.FATAL,
)


@dataclass(frozen=True, slots=True)
class Line:
    """A kind of line. `request` follows traffic and is lost with failing requests; `timer` is regular; `burst` comes
    in heavy-tailed clumps. `spread` is the sd of its own slow noise (log scale); `driven_by` a service whose noise it
    shares.
    """

    text: str
    per_minute: float
    severity: Severity = _INFO
    kind: Literal["request", "timer", "burst"] = "request"
    spread: float = 0.2
    driven_by: str = ""


@dataclass(frozen=True, slots=True)
class CronJob:
    """A job every `every` minutes (at minute `at` of that period) that logs `least` lines or, with a Pareto tail of
    index 1.5, many more (at most 40 times `least`), within `seconds`.
    """

    service: str
    text: str
    every: int
    at: int
    least: float
    seconds: int


@dataclass(frozen=True, slots=True)
class Symptom:
    """A line of trouble: `per_minute` of them at most, in proportion to the `signal` (0-1) that causes it."""

    service: str
    signal: str
    text: str
    per_minute: float
    severity: Severity


EVERYDAY: dict[str, Sequence[Line]] = {
    "web": (
        Line('<ip> - - "GET /products/<id> HTTP/1.1" 200 <bytes> <sec>', 74),
        Line('<ip> - - "GET /search?q=<word>&page=<n> HTTP/1.1" 200 <bytes> <sec>', 30),
        Line('<ip> - - "GET / HTTP/1.1" 200 <bytes> <sec>', 26),
        Line('<ip> - - "POST /cart/items HTTP/1.1" 201 <bytes> <sec>', 18),
        Line('<ip> - - "POST /checkout HTTP/1.1" 200 <bytes> <sec>', 11),
        Line('<ip> - - "GET /static/app.<trace>.js HTTP/1.1" 304 0 <sec>', 14, spread=0.4),
        Line('<ip> - - "GET /healthz HTTP/1.1" 200 2 <sec>', 12, kind="timer"),
        Line('<ip> - - "GET /<word>/<id>.php HTTP/1.1" 404 <bytes> <sec>', 1.5, _WARN, "burst"),
        Line('<ip> - - "GET /products/<id> HTTP/1.1" 499 0 <sec>', 0.7, _WARN, driven_by="inventory"),
        Line("[warn] <n>#<n>: *<id> an upstream response is buffered to a temporary file", 0.4, _WARN),
        Line("[info] <n>#<n>: *<id> client <ip> closed keepalive connection", 5, spread=0.5),
    ),
    "checkout": (
        Line("INFO  [http-<n>] c.s.checkout.CartService - cart <id> priced: <n> items, total <amount> EUR", 26),
        Line("INFO  [http-<n>] c.s.checkout.StockClient - reserved <n> items for cart <id> in <ms> ms", 13),
        Line("INFO  [http-<n>] c.s.checkout.PaymentClient - payment <trace> authorised in <ms> ms", 10),
        Line("INFO  [http-<n>] c.s.checkout.OrderService - order <order> submitted by user <user> in <ms> ms", 10),
        Line("DEBUG [http-<n>] c.s.checkout.PriceCache - cache hit for <n> of <n> prices", 9, _DEBUG, spread=0.4),
        Line("INFO  [sweeper] c.s.checkout.Sessions - <n> sessions expired", 3, kind="timer"),
        Line("INFO  [pool-stats] c.s.db.Pool - orders-db: active=<n> idle=<n> waiting=0", 2, kind="timer"),
        Line("INFO  [gc] G1 young collection: <n>M->512M in <sec> s", 1.2, spread=0.5),
        Line(
            "WARN  [http-<n>] c.s.checkout.PaymentClient - retrying payment <trace>, attempt <n>",
            0.8,
            _WARN,
            driven_by="payments",
            spread=0.6,
        ),
        Line("WARN  [http-<n>] c.s.db.SlowQuery - SELECT on carts took <ms> ms", 0.9, _WARN, driven_by="orders-db"),
        Line("WARN  [http-<n>] c.s.checkout.PaymentClient - card declined for order <order>, code <n>", 0.9, _WARN),
        Line(
            "ERROR [http-<n>] c.s.db.Pool - connection pool exhausted: orders-db active=<n> waiting=<n>, gave up "
            "after <ms> ms",
            0.12,
            _ERROR,
        ),
    ),
    "orders": (
        Line('level=info msg="order created" order=<order> user=<user> total=<amount> took=<ms>ms', 10),
        Line('level=info msg="order status read" order=<order> took=<ms>ms', 27),
        Line('level=info msg="event published" topic=order-events key=<order> bytes=<bytes>', 13),
        Line('level=info msg="outbox flushed" rows=<n> took=<ms>ms', 6, kind="timer"),
        Line('level=debug msg="lease renewed" holder=<trace>', 4, _DEBUG, "timer"),
        Line(
            'level=warn msg="transaction retried after deadlock" order=<order> attempt=<n>',
            0.3,
            _WARN,
            driven_by="orders-db",
            spread=0.5,
        ),
        Line('level=info msg="address normalised" order=<order> country=<country>', 7),
    ),
    "payments": (
        Line("START RequestId: <uuid> Version: <n>", 11),
        Line("[INFO] <uuid> captured charge <trace> amount=<amount> provider=<provider>", 11),
        Line("END RequestId: <uuid>", 11),
        Line("REPORT RequestId: <uuid> Duration: <ms> ms Billed Duration: <ms> ms Memory Size: 512 MB", 11),
        Line("[WARNING] <uuid> provider <provider> answered slowly: <ms> ms", 0.6, _WARN, spread=0.7),
        Line("[INFO] <uuid> card declined by issuer, code=<n>", 0.9),
        Line("[INFO] token cache refreshed, <n> keys", 1, kind="timer"),
    ),
    "inventory": (
        Line("INFO inventory.read sku=<sku> available=<n> took=<ms>ms", 38),
        Line("INFO inventory.reserve sku=<sku> qty=<n> order=<order> took=<ms>ms", 13),
        Line("INFO inventory.gossip exchanged <n> digests with peer <ip>", 6, kind="timer"),
        Line("DEBUG inventory.cache evicted <n> entries", 3, _DEBUG, spread=0.5),
        Line("WARNING inventory.reserve sku=<sku> is short: wanted <n>, have <n>", 0.8, _WARN, spread=0.5),
        Line("WARNING inventory.read retry <n> for sku=<sku> after <ms>ms", 0.5, _WARN, "burst"),
    ),
    "search": (
        Line("query terms=<n> hits=<id> took=<ms>ms shard=<n> user=<user>", 31),
        Line("suggest prefix=<word> hits=<n> took=<ms>ms", 20, spread=0.4),
        Line("index refreshed: <n> documents in <ms>ms", 4, kind="timer"),
        Line("merged segments <trace> into <trace>: <bytes> bytes", 0.7, spread=0.6),
        Line("WARN slow query took=<ms>ms terms=<n> hits=<id>", 1.5, _WARN, "burst"),
    ),
    "notify": (
        Line("INFO mailer: sent order confirmation <trace> to user <user> via <ip>", 10),
        Line("INFO mailer: queue depth <n>, oldest <sec> s", 4, kind="timer"),
        Line("INFO push: delivered <n> notifications to <n> devices", 6, spread=0.5),
        Line("WARN mailer: message <trace> bounced with code <n>", 0.6, _WARN, spread=0.5),
        Line("WARN mailer: greylisted by <ip>, retry in <n> s", 0.4, _WARN, "burst"),
    ),
    "orders-db": (
        Line("LOG:  connection received: host=<ip> port=<id>", 9),
        Line("LOG:  connection authorized: user=shop database=orders application_name=pool-<n>", 9),
        Line("LOG:  duration: <ms>.<n> ms  statement: SELECT * FROM orders WHERE id = $1", 8, spread=0.4),
        Line("LOG:  automatic vacuum of table orders.public.outbox: index scans: <n>", 1, kind="timer"),
        Line("LOG:  could not receive data from client: Connection reset by peer", 0.2, spread=0.5),
    ),
}

CRON_JOBS = (
    CronJob("notify", "INFO digest: mailed offer <trace> to segment <n>", 60, 5, 12, 120),
    CronJob("orders", 'level=info msg="cart archived" cart=<id> age_days=<n>', 30, 12, 10, 60),
    CronJob("inventory", "INFO inventory.recount sku=<sku> counted=<n> booked=<n>", 60, 41, 20, 180),
    CronJob("orders-db", "LOG:  checkpoint complete: wrote <n> buffers; write=<sec> s, sync=<sec> s", 5, 2, 1, 10),
    CronJob("search", "reindexed category <n>: <id> documents in <ms>ms", 120, 17, 15, 90),
)

NOVEL: dict[str, Sequence[Line]] = {
    "web": (
        Line('<ip> - - "GET /wishlist/<user> HTTP/1.1" 200 <bytes> <sec>', 4),
        Line('<ip> - - "GET /api/v2/recommendations?user=<user> HTTP/1.1" 200 <bytes> <sec>', 5),
    ),
    "checkout": (
        Line("INFO  [http-<n>] c.s.checkout.Vouchers - voucher <trace> applied to cart <id>", 3),
        Line("INFO  [http-<n>] c.s.checkout.Tax - tax zone <n> chosen for cart <id>", 5),
    ),
    "orders": (
        Line('level=info msg="invoice rendered" order=<order> pages=<n>', 4),
        Line('level=info msg="gift note stored" order=<order> chars=<n>', 2),
    ),
    "payments": (
        Line("[INFO] <uuid> risk score <n> for charge <trace>", 8),
        Line("[INFO] <uuid> wallet used for charge <trace>", 3),
    ),
    "search": (
        Line("synonyms expanded: <n> terms became <n>", 6),
        Line("spelling corrected, distance <n>, took=<ms>ms", 4),
    ),
}

START_UP = (
    ("INFO  stopping: draining <n> requests", Severity.INFO),
    ("INFO  starting, release <release>, pid <id>", Severity.INFO),
    ("INFO  ready after <sec> s", Severity.INFO),
)

SYMPTOMS = (
    Symptom(
        "checkout",
        "pool",
        "ERROR [http-<n>] c.s.db.Pool - connection pool exhausted: orders-db active=<n> "
        "waiting=<n>, gave up after <ms> ms",
        100,
        _ERROR,
    ),
    Symptom(
        "checkout", "pool", "WARN  [http-<n>] c.s.db.Pool - waited <ms> ms for a connection to orders-db", 40, _WARN
    ),
    Symptom(
        "orders-db", "slots", "FATAL:  remaining connection slots are reserved for superuser connections", 30, _FATAL
    ),
    Symptom(
        "checkout",
        "db_lost",
        "ERROR [http-<n>] c.s.db.Pool - connection to orders-db lost: server closed the connection",
        60,
        _ERROR,
    ),
    Symptom(
        "orders", "db_lost", 'level=error msg="database unavailable" order=<order> err="connection refused"', 60, _ERROR
    ),
    Symptom("web", "fail.checkout", '<ip> - - "POST /checkout HTTP/1.1" 503 <bytes> <sec>', 40, _ERROR),
    Symptom(
        "web",
        "fail.checkout",
        "[error] <n>#<n>: *<id> upstream timed out while reading response header, upstream: checkout",
        26,
        _ERROR,
    ),
    Symptom(
        "checkout",
        "fail.payments",
        "ERROR [http-<n>] c.s.checkout.PaymentClient - payment <trace> failed: payments answered 500",
        40,
        _ERROR,
    ),
    Symptom(
        "payments", "deploy.payments", "[ERROR] <uuid> KeyError: 'minor_unit' in capture_charge, line <n>", 60, _ERROR
    ),
    Symptom(
        "orders",
        "deploy.orders",
        'level=error msg="cannot decode order event" key=<order> err="unknown field discount_rules"',
        60,
        _ERROR,
    ),
    Symptom(
        "checkout",
        "fail.orders",
        "ERROR [http-<n>] c.s.checkout.OrderService - order <order> rejected: orders answered 500",
        36,
        _ERROR,
    ),
    Symptom(
        "inventory", "lost.inventory", "WARNING inventory.gossip peer <ip> unreachable, <n> digests pending", 12, _WARN
    ),
    Symptom(
        "inventory",
        "fail.inventory",
        "ERROR inventory.worker queue full, request for sku=<sku> shed after <ms>ms",
        90,
        _ERROR,
    ),
    Symptom(
        "checkout",
        "fail.inventory",
        "WARN  [http-<n>] c.s.checkout.StockClient - reservation for cart <id> timed out after <ms> ms",
        30,
        _WARN,
    ),
    Symptom("web", "fail.inventory", '<ip> - - "GET /products/<id> HTTP/1.1" 504 <bytes> <sec>', 60, _ERROR),
    Symptom("web", "fail.search", '<ip> - - "GET /search?q=<word>&page=<n> HTTP/1.1" 502 <bytes> <sec>', 40, _ERROR),
)
