"""The Cypher of the online path: every text once, the same for each engine.

Texts are constants with parameters, so that an engine plans each of them once. Rows are lists, since a map a row
costs its keys on the wire. A link is always made and found from its record's side: an identifier may have a hundred
thousand links, a record never has.
"""

from __future__ import annotations

from typing import Final

from onefold.graph.policy import LINK_TYPES, ORDER_LINK_TYPES

IDENTIFIER_LABELS: Final = tuple(LINK_TYPES)

RECORD_LABELS: Final = {"customer": "Customer", "order": "Order"}

RECORD_LINK_TYPES: Final = {"customer": LINK_TYPES, "order": ORDER_LINK_TYPES}

_LINK: Final = """[v.key, labels(v)[0], v.component, v.identity, v.shared, v.events, l.source, l.assurance,
        l.first_seen.epochMillis, l.last_seen.epochMillis, l.observations, l.refused]"""

_CUSTOMER_ROW: Final = f"""[r.key, i.id, r.component, r.created_at.epochMillis, r.observed_at.epochMillis, r.digest,
    COLLECT {{ MATCH (r)-[l:{"|".join(LINK_TYPES.values())}]->(v) RETURN {_LINK} }},
    COLLECT {{ MATCH (r)-[m:SAME_AS]->(o:Customer) RETURN [o.key, m.at.epochMillis] }},
    COLLECT {{ MATCH (r)-[b:NEVER_SAME]->(o:Customer)
      RETURN [o.key, b.at.epochMillis, b.expires_at.epochMillis] }}]"""

_ORDER_ROW: Final = f"""[r.key, i.id, r.component, r.created_at.epochMillis, r.observed_at.epochMillis, r.digest,
    COLLECT {{ MATCH (r)-[l:{"|".join(ORDER_LINK_TYPES.values())}]->(v) RETURN {_LINK} }}, [], []]"""

_DEVICE_ROW: Final = "[v.key, 'Device', v.component, v.identity, v.shared, v.events]"

MEMBERS: Final = f"""
CALL (components, locked) {{
  UNWIND components AS c MATCH (r:Customer {{component: c}})-[:MEMBER_OF]->(i:Identity)
  RETURN collect({_CUSTOMER_ROW}) AS customers
}}
CALL (components, locked) {{
  UNWIND components AS c MATCH (r:Order {{component: c}})-[:MEMBER_OF]->(i:Identity)
  RETURN collect({_ORDER_ROW}) AS orders
}}
CALL (components, locked) {{
  UNWIND components AS c MATCH (v:Device {{component: c}})
  RETURN collect({_DEVICE_ROW}) AS devices
}}
"""
"""All members of the ``components`` at hand, with their links and what operators said of them.

``locked`` must be at hand too: where it counts locks it makes the reads wait for them.
"""

READ_AND_LOCK: Final = (
    """
CALL () {
  UNWIND $customers AS k MATCH (n:Customer {key: k})
  RETURN 'customer:' + k AS name, n.component AS component, null AS identity, false AS shared, false AS events
  UNION ALL
  UNWIND $orders AS k MATCH (n:Order {key: k})
  RETURN 'order:' + k AS name, n.component AS component, null AS identity, false AS shared, false AS events
  UNION ALL
  UNWIND $emails AS k MATCH (n:Email {key: k})
  RETURN k AS name, n.component AS component, n.identity AS identity, n.shared AS shared, n.events AS events
  UNION ALL
  UNWIND $phones AS k MATCH (n:Phone {key: k})
  RETURN k AS name, n.component AS component, n.identity AS identity, n.shared AS shared, n.events AS events
  UNION ALL
  UNWIND $devices AS k MATCH (n:Device {key: k})
  RETURN k AS name, n.component AS component, n.identity AS identity, n.shared AS shared, n.events AS events
  UNION ALL
  UNWIND $external_ids AS k MATCH (n:ExternalId {key: k})
  RETURN k AS name, n.component AS component, n.identity AS identity, n.shared AS shared, n.events AS events
}
WITH collect([name, component, identity, shared, events]) AS touched, collect(DISTINCT component) AS components
CALL (components) {
  UNWIND components AS c WITH c ORDER BY c
  MATCH (i:Identity {id: c}) SET i.lock = $lock
  RETURN count(*) AS locked
}
"""
    + MEMBERS
    + """
RETURN touched, customers, orders, devices
"""
)
"""Finds what a batch names, locks its components in id order, and returns all their members with their links.

Each lock is a write of a value unique to the transaction: a property that is set to the value it has takes no lock
on one engine. Members are read after the locks are held, since reads see whatever is committed.
"""

SCAN_CUSTOMERS: Final = f"""
MATCH (r:Customer) WHERE r.key > $after WITH r ORDER BY r.key LIMIT $limit
MATCH (r)-[:MEMBER_OF]->(i:Identity) RETURN {_CUSTOMER_ROW} AS row
"""

SCAN_ORDERS: Final = f"""
MATCH (r:Order) WHERE r.key > $after WITH r ORDER BY r.key LIMIT $limit
OPTIONAL MATCH (r)-[:MEMBER_OF]->(i:Identity) RETURN {_ORDER_ROW} AS row
"""
"""A customer's order comes with no identity: it is no record, and only moves the scan on."""

SCAN_DEVICES: Final = f"""
MATCH (v:Device) WHERE v.key > $after WITH v ORDER BY v.key LIMIT $limit RETURN {_DEVICE_ROW} AS row
"""

READ_HOLDERS: Final = {
    label: f"""
UNWIND $keys AS k MATCH (v:{label} {{key: k}})<-[:{LINK_TYPES[label]}]-(r:Customer) RETURN 'customer:' + r.key AS name
UNION
UNWIND $keys AS k MATCH (v:{label} {{key: k}})<-[:{ORDER_LINK_TYPES[label]}]-(r:Order) RETURN 'order:' + r.key AS name
"""
    for label in IDENTIFIER_LABELS
}
"""Every record at some shared identifiers: a hub is read only when it may have ceased to be one."""

READ_ORDERS: Final = """
UNWIND $orders AS k MATCH (o:Order {key: k})
OPTIONAL MATCH (c:Customer)-[:PLACED]->(o)
RETURN o.key, o.observed_at.epochMillis, o.digest, c.key
"""

READ_EVENTS: Final = "UNWIND $events AS k MATCH (e:Event {key: k}) RETURN e.key"

CREATE_IDENTITIES: Final = """
UNWIND $rows AS r
CREATE (:Identity {id: r[0], anonymous: r[1], created_at: datetime({epochMillis: $now})})
"""

NAME_IDENTITIES: Final = "UNWIND $rows AS id MATCH (i:Identity {id: id}) SET i.anonymous = false"

CREATE_IDENTIFIERS: Final = {
    label: f"""
UNWIND $rows AS r
CREATE (:{label} {{key: r[0], kind: r[1], value: r[2], component: r[3], identity: r[4], shared: r[5], events: r[6]}})
"""
    for label in IDENTIFIER_LABELS
}

PLACE_IDENTIFIERS: Final = {
    label: f"""
UNWIND $rows AS r MATCH (v:{label} {{key: r[0]}})
SET v.component = r[1], v.identity = r[2], v.shared = r[3], v.events = r[4]
"""
    for label in IDENTIFIER_LABELS
}

_NEW_LINK: Final = """{source: l[1], assurance: l[2], confidence: l[3], first_seen: datetime({epochMillis: l[4]}),
    last_seen: datetime({epochMillis: l[5]}), observations: l[6]}"""

CREATE_CUSTOMERS: Final = (
    """
UNWIND $rows AS r MATCH (i:Identity {id: r[1]})
CREATE (c:Customer {key: r[0]})-[:MEMBER_OF]->(i)
SET c += r[2], c.created_at = datetime({epochMillis: $now}),
    c.observed_at = CASE WHEN r[3] IS NULL THEN null ELSE datetime({epochMillis: r[3]}) END
WITH c, r[4] AS links
"""
    + "".join(
        f"""CALL (c, links) {{
  UNWIND links[{place}] AS l MATCH (v:{label} {{key: l[0]}}) CREATE (c)-[:{type_} {_NEW_LINK}]->(v)
  RETURN count(*) AS n{place}
}}
"""
        for place, (label, type_) in enumerate(LINK_TYPES.items())
    )
    + "RETURN count(*)"
)
"""New customers with their links, by identifier label: one look at each record, where links apart would need two."""

DESCRIBE_CUSTOMERS: Final = """
UNWIND $rows AS r MATCH (c:Customer {key: r[0]}) WITH c, r, c.created_at AS created_at
SET c = r[1], c.created_at = created_at, c.observed_at = datetime({epochMillis: r[2]})
"""

CREATE_ORDERS: Final = """
UNWIND $rows AS r
CREATE (o:Order {key: r[0]})
SET o += r[1], o.refunded_micros = 0, o.placed_at = datetime({epochMillis: r[2]}),
    o.observed_at = datetime({epochMillis: r[3]}), o.created_at = datetime({epochMillis: $now})
"""

DESCRIBE_ORDERS: Final = """
UNWIND $rows AS r MATCH (o:Order {key: r[0]})
WITH o, r, o.created_at AS created_at, o.component AS component, o.refunded_micros AS refunded
SET o = r[1], o.component = component, o.created_at = created_at, o.refunded_micros = refunded,
    o.placed_at = datetime({epochMillis: r[2]}), o.observed_at = datetime({epochMillis: r[3]})
"""

CLEAR_ORDERS: Final = """
UNWIND $rows AS k MATCH (o:Order {key: k})
MATCH (o)-[c:CONTAINS]->() DELETE c
"""
"""Takes the lines of a replaced version away."""

PLACE_ORDERS: Final = """
UNWIND $rows AS r MATCH (c:Customer {key: r[0]}) UNWIND r[1] AS k MATCH (o:Order {key: k})
CREATE (c)-[:PLACED]->(o)
"""

JOIN_ORDERS: Final = """
UNWIND $rows AS r MATCH (o:Order {key: r[0]}), (i:Identity {id: r[1]})
SET o.component = r[2] CREATE (o)-[:MEMBER_OF]->(i)
"""
"""Makes guest orders members of their identities."""

MERGE_PRODUCTS: Final = """
UNWIND $rows AS r MERGE (p:Product {key: r[0]})
ON CREATE SET p.source = r[1], p.sku = r[2], p.name = r[3], p.category = r[4]
WITH p, r WHERE (p.name = '' AND r[3] <> '') OR (p.category = '' AND r[4] <> '')
SET p.name = CASE p.name WHEN '' THEN r[3] ELSE p.name END,
    p.category = CASE p.category WHEN '' THEN r[4] ELSE p.category END
"""
"""A product bears the first name and category that any order gives it; most orders then only read it."""

CREATE_LINES: Final = """
UNWIND $rows AS r MATCH (o:Order {key: r[0]}) UNWIND r[1] AS l MATCH (p:Product {key: l[0]})
CREATE (o)-[:CONTAINS {line: l[1], quantity: l[2], unit_price_micros: l[3]}]->(p)
"""

MERGE_REFUNDS: Final = """
UNWIND $rows AS r MATCH (o:Order {key: r[0]})
CALL (o, r) {
  UNWIND r[1] AS f MERGE (n:Refund {key: f[0]})
  MERGE (o)-[:REFUNDED]->(n)
  WITH n, f WHERE n.observed_at IS NULL OR n.observed_at.epochMillis <= f[6]
  SET n.at = datetime({epochMillis: f[1]}), n.amount_micros = f[2], n.sku = f[3], n.quantity = f[4], n.reason = f[5],
    n.observed_at = datetime({epochMillis: f[6]})
  RETURN count(*) AS refunds
}
CALL (o, refunds) { MATCH (o)-[:REFUNDED]->(n:Refund) RETURN sum(n.amount_micros) AS refunded }
SET o.refunded_micros = refunded
"""

CREATE_EVENTS: Final = {
    label: f"""
UNWIND $rows AS r MATCH (n:{label} {{key: r[0]}}) UNWIND r[1] AS e
CREATE (n)-[:DID]->(v:Event {{key: e[0]}}) SET v += e[1], v.at = datetime({{epochMillis: e[2]}})
"""
    for label in ("Customer", "Device")
}

CREATE_LINKS: Final = {
    (record, label): f"""
UNWIND $rows AS r MATCH (c:{RECORD_LABELS[record]} {{key: r[0]}}) UNWIND r[1] AS l MATCH (v:{label} {{key: l[0]}})
CREATE (c)-[:{type_} {_NEW_LINK}]->(v)
"""
    for record, types in RECORD_LINK_TYPES.items()
    for label, type_ in types.items()
}

UPDATE_LINKS: Final = {
    record: f"""
UNWIND $rows AS r MATCH (c:{RECORD_LABELS[record]} {{key: r[0]}}) WITH c, r
MATCH (c)-[l:{"|".join(RECORD_LINK_TYPES[record].values())}]->(v)
WHERE v.key = r[1] AND l.source = r[2] AND l.assurance = r[3]
SET l.first_seen = datetime({{epochMillis: r[4]}}), l.last_seen = datetime({{epochMillis: r[5]}}),
    l.observations = r[6], l.refused = r[7]
"""
    for record in RECORD_LABELS
}

PLACE_RECORDS: Final = {
    record: f"UNWIND $rows AS r MATCH (n:{label} {{key: r[0]}}) SET n.component = r[1]"
    for record, label in RECORD_LABELS.items()
}

MOVE_RECORDS: Final = {
    record: f"""
UNWIND $rows AS r MATCH (n:{label} {{key: r[0]}})-[m:MEMBER_OF]->(:Identity) DELETE m
WITH n, r MATCH (i:Identity {{id: r[1]}}) CREATE (n)-[:MEMBER_OF]->(i)
"""
    for record, label in RECORD_LABELS.items()
}

SET_MATCHES: Final = """
UNWIND $rows AS r MATCH (a:Customer {key: r[0]}), (b:Customer {key: r[1]})
MERGE (a)-[m:SAME_AS]->(b)
SET m.confidence = 1.0, m.method = 'operator', m.actor = r[2], m.evidence = r[3], m.at = datetime({epochMillis: r[4]})
"""

SET_BANS: Final = """
UNWIND $rows AS r MATCH (a:Customer {key: r[0]}), (b:Customer {key: r[1]})
MERGE (a)-[n:NEVER_SAME]->(b)
SET n.actor = r[2], n.reason = r[3], n.at = datetime({epochMillis: r[4]}),
    n.expires_at = CASE WHEN r[5] IS NULL THEN null ELSE datetime({epochMillis: r[5]}) END
"""

RETIRE_IDENTITIES: Final = """
UNWIND $rows AS r MATCH (old:Identity {id: r[0]}), (new:Identity {id: r[1]})
SET old.merged_into = r[1]
CREATE (old)-[:MERGED_INTO {at: datetime({epochMillis: $now}), decision: r[2]}]->(new)
WITH old, new MATCH (older:Identity)-[m:MERGED_INTO]->(old)
SET older.merged_into = new.id
CREATE (older)-[:MERGED_INTO {at: m.at, decision: m.decision}]->(new)
DELETE m
"""
"""Retires identities; those that had merged into them point to the survivor at once, so no chain ever grows."""

LOCK_LOG: Final = """
MERGE (h:DecisionLog {key: 'head'}) SET h.lock = $lock
RETURN coalesce(h.sequence, 0) AS sequence, coalesce(h.hash, '') AS hash
"""

APPEND_DECISIONS: Final = """
UNWIND $rows AS r
CREATE (d:Decision {id: r[0], sequence: r[1], kind: r[2], actor: r[3], reason: r[4], members: r[5], origins: r[6],
  identity: r[7], causes: r[8], policy_version: $policy_version, at: datetime({epochMillis: $now}),
  prev_hash: $prev_hash, hash: $hash})
WITH d, r UNWIND r[9] AS id MATCH (i:Identity {id: id}) CREATE (d)-[:AFFECTED]->(i)
"""

ADVANCE_LOG: Final = "MATCH (h:DecisionLog {key: 'head'}) SET h.sequence = $sequence, h.hash = $hash"

READ_ANSWERS: Final = "UNWIND $requests AS k MATCH (q:Request {key: k}) RETURN q.key, q.items, q.answer"

CREATE_ANSWERS: Final = """
UNWIND $rows AS r CREATE (:Request {key: r[0], items: r[1], answer: r[2], at: datetime({epochMillis: $now})})
"""
