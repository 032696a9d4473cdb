"""A bundle of Spool in Python: a service that measures the distance between two airports.

It speaks the protocol of docs/protocol.md and nothing else: it announces itself, handles a command exactly once, publishes an event, answers its caller, and
is seen in the registry, the cluster and telemetry. Settings are those of any bundle: KAFKA_BROKERS, SCHEMA_REGISTRY_URL, SPOOL_NAMESPACE, SPOOL_PARTITIONS
and SPOOL_INSTANCE.
"""

import base64
import json
import math
import os
import secrets
import signal
import socket
import time
import uuid
from datetime import datetime, timezone
from pathlib import Path

from confluent_kafka import OFFSET_BEGINNING, Consumer, KafkaError, KafkaException, Message, Producer, TopicPartition
from confluent_kafka.admin import AdminClient, NewTopic
from confluent_kafka.schema_registry import SchemaRegistryClient, topic_record_subject_name_strategy
from confluent_kafka.schema_registry.avro import AvroDeserializer, AvroSerializer
from confluent_kafka.serialization import MessageField, SerializationContext

BUNDLE, VERSION, SERVICE = "distances", "1.0.0", "Distances"
CONSUMER = f"{BUNDLE}.{SERVICE}-1.default"
LANES = ("high", "normal", "low")
DAY_MS = 24 * 60 * 60 * 1000

COMMAND = {
    "type": "record",
    "name": "MeasureDistance",
    "namespace": "distances",
    "fields": [{"name": "origin", "type": "string"}, {"name": "destination", "type": "string"}],
}
EVENT = {
    "type": "record",
    "name": "DistanceMeasured",
    "namespace": "distances",
    "fields": [*COMMAND["fields"], {"name": "kilometres", "type": "double"}],
}
AIRPORTS = {  # latitude and longitude, degrees
    "ATL": (33.640, -84.427), "BOS": (42.364, -71.005), "DEN": (39.862, -104.673), "DFW": (32.897, -97.038), "JFK": (40.640, -73.779),
    "LAX": (33.942, -118.408), "MIA": (25.793, -80.291), "ORD": (41.979, -87.905), "SEA": (47.449, -122.309), "SFO": (37.619, -122.375),
}  # fmt: skip


class Rejection(Exception):
    """The command is understood, and refused: with a code of the domain and a sentence."""


def handle(command: dict) -> dict:
    """All that this bundle is about. The rest of the file is how any bundle does it."""
    unknown = [code for code in (command["origin"], command["destination"]) if code not in AIRPORTS]
    if unknown:
        raise Rejection("UNKNOWN_AIRPORT", f"there is no airport {', '.join(unknown)}")
    (lat1, lon1), (lat2, lon2) = (map(math.radians, AIRPORTS[code]) for code in (command["origin"], command["destination"]))
    half = math.sin((lat2 - lat1) / 2) ** 2 + math.cos(lat1) * math.cos(lat2) * math.sin((lon2 - lon1) / 2) ** 2
    return {**command, "kilometres": round(2 * 6371 * math.asin(math.sqrt(half)), 1)}


class Wire:
    """Names, schemas and headers."""

    def __init__(self, env: dict) -> None:
        self.brokers, self.namespace = env["KAFKA_BROKERS"], env.get("SPOOL_NAMESPACE", "")
        self.partitions = int(env.get("SPOOL_PARTITIONS", "3"))
        self.instance = env.get("SPOOL_INSTANCE", f"{BUNDLE}-0")
        self.incarnation = secrets.token_hex(6)
        self.started_at = now()
        self.registry = SchemaRegistryClient({"url": env["SCHEMA_REGISTRY_URL"]})
        self.decode_command = AvroDeserializer(self.registry, json.dumps(COMMAND))
        self.encoders: dict[str, AvroSerializer] = {}

    def topic(self, name: str) -> str:
        return self.namespace + name

    @property
    def lanes(self) -> list[str]:
        return [self.topic(f"svc.{SERVICE}.{lane}") for lane in LANES]

    @property
    def events(self) -> str:
        return self.topic(f"evt.{SERVICE}")

    def encode(self, topic: str, schema: str, value: dict) -> bytes:
        """Confluent's wire format; the subject is the topic and the record's full name."""
        if schema not in self.encoders:
            conf = {"subject.name.strategy": topic_record_subject_name_strategy}
            self.encoders[schema] = AvroSerializer(self.registry, schema, conf=conf)
        return self.encoders[schema](value, SerializationContext(topic, MessageField.VALUE))

    def descriptor(self) -> str:
        handled = {"type": "MeasureDistance", "kind": "command", "component": SERVICE, "topic": self.lanes[1]}
        made = {"type": "DistanceMeasured", "kind": "event", "component": SERVICE, "topic": self.events}
        component = {
            "name": SERVICE,
            "kind": "service",
            "description": "Measures the distance between two airports.",
            "handles": ["MeasureDistance"],
            "sends": ["DistanceMeasured"],
            "consumer": CONSUMER,
            "sources": self.lanes,
            "replayable": False,
        }
        payloads = [
            {**handled, "schemaName": "distances.MeasureDistance", "schema": COMMAND},
            {**made, "schemaName": "distances.DistanceMeasured", "schema": EVENT},
        ]
        described = {"id": BUNDLE, "version": VERSION, "description": "A bundle in Python.", "components": [component], "payloads": payloads}
        return json.dumps(described)

    def identity(self) -> dict:
        return {"bundle": BUNDLE, "version": VERSION, "instance": self.instance, "incarnation": self.incarnation}


def platform_schema(name: str) -> str:
    """The platform's own contracts, as `schemas/avro` has them."""
    return (Path(__file__).parent / "../../schemas/avro" / f"{name}.avsc").read_text()


def now() -> int:
    return time.time_ns() // 1_000_000


def headers(**meta: object) -> dict[str, str]:
    """CloudEvents, binary mode; what is None is left out."""
    at = datetime.now(timezone.utc).isoformat(timespec="milliseconds").replace("+00:00", "Z")
    named = {"ce_specversion": "1.0", "content-type": "application/avro", "ce_time": at, **meta}
    return {name: str(value) for name, value in named.items() if value is not None}


def meta_of(message: Message) -> dict[str, str]:
    return {name: value.decode() for name, value in message.headers() or [] if value is not None}


class Presence:
    """Tells the registry and the cluster that it is there. It needs no transaction: what is lost is said again."""

    def __init__(self, wire: Wire, producer: Producer) -> None:
        self.wire, self.producer = wire, producer
        self.beat_due = self.announce_due = 0.0
        self.schemas = {name: platform_schema(name) for name in ("BundleAnnounced", "BundleLeft", "Heartbeat", "Span")}

    def send(self, topic: str, key: str, name: str, value: dict, *, typed: bool = False) -> None:
        topic = self.wire.topic(topic)
        meta = headers(ce_id=uuid.uuid4(), ce_type=f"spool.{name}", ce_source=self.wire.instance) if typed else None
        self.producer.produce(topic, self.wire.encode(topic, self.schemas[name], value), key, headers=meta)

    def tell(self, health: str) -> None:
        at, host = now(), {"host": socket.gethostname(), "pid": os.getpid()}
        if time.monotonic() >= self.announce_due and health == "up":
            value = {**self.wire.identity(), **host, "descriptor": self.wire.descriptor(), "at": at}
            self.send("registry.announcements", f"{BUNDLE}@{VERSION}", "BundleAnnounced", value, typed=True)
            self.announce_due = time.monotonic() + 30
        if time.monotonic() >= self.beat_due or health != "up":
            load = {"inFlight": 0, "eventLoopLagMs": 0.0, "cpu": 0.0, "rssBytes": 0, "processors": []}
            value = {**self.wire.identity(), **host, **load, "startedAt": self.wire.started_at, "health": health, "at": at}
            self.send("cluster.heartbeats", self.wire.instance, "Heartbeat", value)
            self.beat_due = time.monotonic() + 2

    def leave(self) -> None:
        self.send("registry.announcements", f"{BUNDLE}@{VERSION}", "BundleLeft", {**self.wire.identity(), "at": now()}, typed=True)
        self.tell("stopping")

    def span(self, message: Message, meta: dict, reply: dict, began_ns: int, handled_ns: int) -> None:
        trace = meta.get("traceparent", f"00-{secrets.token_hex(16)}--01").split("-")
        handle_us, commit_us = (handled_ns - began_ns) // 1000, (time.time_ns() - handled_ns) // 1000
        queue_us = max(0, began_ns // 1000 - message.timestamp()[1] * 1000)
        problem = reply["problem"]
        value = {
            "traceId": trace[1],
            "spanId": secrets.token_hex(8),
            "parentSpanId": trace[2] or None,
            "messageKind": "command",
            "startedAt": began_ns // 1000,
            "queueUs": queue_us,
            "handleUs": handle_us,
            "commitUs": commit_us,
            "totalUs": queue_us + handle_us + commit_us,
            "status": "error" if reply["outcome"] == "failed" else "ok",
            "outcome": reply["outcome"],
            "errorClass": problem and problem["code"],
            "bundle": BUNDLE,
            "version": VERSION,
            "instance": self.wire.instance,
            "component": SERVICE,
            "componentKind": "service",
            "handler": f"{SERVICE}.{meta.get('ce_type')}",
            "payloadType": meta.get("ce_type", ""),
            "aggregateId": message.key().decode(),
            "topic": message.topic(),
            "partition": message.partition(),
            "offset": message.offset(),
            "messageId": meta.get("ce_id"),
            "correlationId": meta.get("correlationid"),
            "causationId": meta.get("causationid"),
            "source": meta.get("ce_source"),
            "weight": 1,
        }
        self.send("telemetry.spans", self.wire.instance, "Span", value)


class Partition:
    """What the events of one partition say. A bundle with a long history would keep it on disk."""

    def __init__(self) -> None:
        self.replies: dict[str, dict] = {}  # by command id
        self.versions: dict[str, int] = {}  # by lock id: the number of its events

    def add(self, id: str, key: str, event: dict, version: int, position: str) -> dict:
        self.versions[key] = version
        self.replies[id] = applied("duplicate", version, event, position)
        return self.replies[id]


class Service:
    """Handles commands: events, replies that must not be lost and the input position in one transaction. What was done before is known from the events."""

    def __init__(self, wire: Wire, presence: Presence) -> None:
        self.wire, self.presence = wire, presence
        self.reply_schema = platform_schema("Reply")
        group = {"bootstrap.servers": wire.brokers, "enable.auto.commit": False, "isolation.level": "read_committed"}
        self.consumer = Consumer(
            {
                **group,
                "group.id": CONSUMER,
                "group.instance.id": wire.instance,  # after a restart it has its partitions again at once
                "session.timeout.ms": 6000,
                "topic.metadata.refresh.interval.ms": 5000,  # a lane that it has not heard of is asked for again
                "auto.offset.reset": "earliest",
                "partition.assignment.strategy": "range",  # the same partitions of all lanes, so that a lock is held by one instance
            }
        )
        self.reader = Consumer({**group, "group.id": f"{CONSUMER}.history", "enable.partition.eof": True})
        self.producer = Producer(
            {"bootstrap.servers": wire.brokers, "transactional.id": f"{CONSUMER}/{wire.instance}", "transaction.timeout.ms": 10_000}
        )
        self.known: dict[int, Partition] = {}

    def start(self) -> None:
        self.producer.init_transactions(30)  # whatever a former run left open is aborted
        self.consumer.subscribe(self.wire.lanes, on_assign=self.assigned)

    def assigned(self, consumer: Consumer, lanes: list[TopicPartition]) -> None:
        """Learns what was done before. Until no earlier owner has a transaction open `committed` waits: then the events go as far as the position."""
        positions = consumer.committed(lanes, 30)
        left = {lane.partition for lane in lanes}
        self.known.update((partition, Partition()) for partition in left)
        self.reader.assign([TopicPartition(self.wire.events, partition, OFFSET_BEGINNING) for partition in left])
        while left:
            for message in self.reader.consume(1000, 0.1):
                if message.error() is None:
                    self.learn(message)
                elif message.error().code() == KafkaError._PARTITION_EOF:
                    left.discard(message.partition())
                elif message.error().fatal():
                    raise KafkaException(message.error())  # the others, such as a topic that a broker has not heard of yet, pass
        self.reader.unassign()
        consumer.assign([TopicPartition(at.topic, at.partition, at.offset if at.offset >= 0 else OFFSET_BEGINNING) for at in positions])

    def learn(self, message: Message) -> None:
        meta = meta_of(message)
        event = {"id": meta["ce_id"], "type": meta["ce_type"]}
        position = token(message.topic(), message.partition(), message.offset() + 1)
        self.known[message.partition()].add(meta["commandid"], message.key().decode(), event, int(meta["aggregateversion"]), position)

    def work(self) -> None:
        """One group of commands."""
        first = self.consumer.poll(0.2)
        messages = [] if first is None else [first, *self.consumer.consume(99, 0)]  # which would wait for all of them
        for message in messages:
            if message.error() is not None and message.error().fatal():
                raise KafkaException(message.error())
        messages = [message for message in messages if message.error() is None]
        if not messages:
            return
        done = []
        try:
            self.producer.begin_transaction()
            for message in messages:
                began, meta = time.time_ns(), meta_of(message)
                reply = self.answer(message, meta)
                if "replykey" in meta:
                    self.reply(self.producer, meta, reply)
                done.append((message, meta, reply, began, time.time_ns()))
            positions = self.consumer.position(self.consumer.assignment())
            self.producer.send_offsets_to_transaction(positions, self.consumer.consumer_group_metadata(), 30)
            self.producer.commit_transaction(30)
        except KafkaException as error:
            if not error.args[0].txn_requires_abort():
                raise  # fenced, or nobody knows: the next run finds out
            self.producer.abort_transaction(30)
            self.assigned(self.consumer, self.consumer.assignment())
            return
        for message, meta, reply, began, handled in done:
            if "replykey" not in meta:
                self.reply(self.presence.producer, meta, reply)
            self.presence.span(message, meta, reply, began, handled)

    def answer(self, message: Message, meta: dict) -> dict:
        id, key, partition = meta.get("ce_id", ""), message.key().decode(), self.known[message.partition()]
        if id in partition.replies:
            return partition.replies[id]
        deadline, expected = meta.get("deadline"), meta.get("expectedversion")
        if deadline is not None and now() > int(deadline):
            return refused("expired", "EXPIRED", "the deadline passed before the work began")
        version = partition.versions.get(key, 0)
        if expected is not None and expected != str(version) and not (expected == "exists" and version > 0):
            return {**refused("conflict", "VERSION_CONFLICT", f"{key} is at version {version}, not {expected}"), "version": version}
        try:
            value = handle(self.wire.decode_command(message.value(), SerializationContext(message.topic(), MessageField.VALUE)))
        except Rejection as why:
            return refused("rejected", *why.args)
        except Exception as error:  # a fault is no outcome: the same command may be sent again
            return refused("failed", "INTERNAL", str(error))
        version += 1
        event = {"id": f"{id}/0", "type": "DistanceMeasured"}
        again = partition.add(id, key, event, version, "")
        reply = {**again, "outcome": "applied"}
        cause = {name: meta.get(name) for name in ("traceparent", "actor", "context")}
        about = headers(
            ce_id=event["id"],
            ce_type=event["type"],
            ce_source=f"{BUNDLE}/{SERVICE}",
            ce_subject=key,
            aggregateversion=version,
            commandid=id,
            causationid=id,
            correlationid=meta.get("correlationid", id),
            **cause,
        )

        def stands(_: object, record: Message) -> None:
            reply["position"] = again["position"] = token(record.topic(), record.partition(), record.offset() + 1)

        encoded = self.wire.encode(self.wire.events, json.dumps(EVENT), value)
        self.producer.produce(self.wire.events, encoded, key, partition=message.partition(), headers=about, on_delivery=stands)
        return reply

    def reply(self, producer: Producer, meta: dict, reply: dict) -> None:
        """Whoever waits has a partition of its own. A reply that is lost is asked for again, by the same command; with a key it is in the transaction."""
        if "replyto" not in meta:
            return
        topic, partition = meta["replyto"].rsplit("/", 1)
        about = headers(ce_id=f"{meta['ce_id']}/reply", ce_type="spool.Reply", ce_source=BUNDLE, causationid=meta["ce_id"], commandid=meta["ce_id"])
        value = self.wire.encode(topic, self.reply_schema, reply)
        producer.produce(topic, value, meta.get("replykey", meta["ce_id"]), partition=int(partition), headers=about)

    def close(self) -> None:
        self.consumer.close()
        self.reader.close()


def token(topic: str, partition: int, offset: int) -> str:
    return base64.urlsafe_b64encode(f"{topic}-{partition}:{offset}".encode()).rstrip(b"=").decode()


def applied(outcome: str, version: int, event: dict, position: str) -> dict:
    return {"outcome": outcome, "version": version, "events": [{**event, "version": version}], "position": position, "view": None, "problem": None}


def refused(outcome: str, code: str, detail: str) -> dict:
    problem = {"code": code, "detail": detail, "violations": []}
    return {"outcome": outcome, "version": None, "events": [], "position": "", "view": None, "problem": problem}


def make_topics(wire: Wire) -> None:
    """As docs/protocol.md says; those that are there stay as they are."""
    delete = {"cleanup.policy": "delete"}
    wanted = [NewTopic(lane, wire.partitions, config={**delete, "retention.ms": str(7 * DAY_MS)}) for lane in wire.lanes]
    wanted.append(NewTopic(wire.events, wire.partitions, config={**delete, "retention.ms": "-1"}))
    admin = AdminClient({"bootstrap.servers": wire.brokers})
    for made in admin.create_topics(wanted).values():
        try:
            made.result(30)
        except KafkaException as error:
            if error.args[0].code() != KafkaError.TOPIC_ALREADY_EXISTS:
                raise
    # A broker hears of a new topic a moment later, and whoever asks before is told that there is none.
    until = time.monotonic() + 30
    while any(admin.list_topics(topic.topic, 30).topics[topic.topic].error is not None for topic in wanted):
        if time.monotonic() > until:
            raise TimeoutError("the topics were made, and the broker does not know them")
        time.sleep(0.1)


def main() -> None:
    wire = Wire(dict(os.environ))
    make_topics(wire)
    presence = Presence(wire, Producer({"bootstrap.servers": wire.brokers, "enable.idempotence": True, "linger.ms": 0}))
    service = Service(wire, presence)
    stopping = []
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stopping.append(True))
    service.start()
    try:
        while not stopping:
            presence.tell("up")
            service.work()
            presence.producer.poll(0)
    finally:
        presence.leave()
        presence.producer.flush(10)
        service.close()


if __name__ == "__main__":
    main()
