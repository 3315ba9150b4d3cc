"""The Cypher of the online path: every text once, the same for each engine.

Texts are constants with parameters, so that an engine plans each of them once. Rows are lists, since a map a row
costs its keys on the wire. A link is always made and found from its record's side: an identifier may have a hundred
thousand links, a record never has.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from onefold.graph.policy import LINK_TYPES, ORDER_LINK_TYPES, Label

IDENTIFIER_LABELS: Final = tuple(LINK_TYPES)

IDENTIFIER_PARAMETERS: Final[Mapping[Label, str]] = {
    "Email": "emails",
    "Phone": "phones",
    "Device": "devices",
    "ExternalId": "external_ids",
}
"""What a text's parameter calls the identifiers of each label."""

RECORD_LABELS: Final = {"customer": "Customer", "order": "Order"}

RECORD_LINK_TYPES: Final = {"customer": LINK_TYPES, "order": ORDER_LINK_TYPES}

_LINK: Final = """[v.key, labels(v)[0], v.component, v.identity, v.shared, v.events, l.source, l.assurance,
        l.first_seen.epochMillis, l.last_seen.epochMillis, l.observations, l.stated_by, l.sighted_at.epochMillis,
        l.ordered_at.epochMillis, l.withdrawn_at.epochMillis, l.refused]"""

_RECORD: Final = """r.key, i.id, r.component, r.created_at.epochMillis, r.observed_at.epochMillis, r.digest,
    r.deleted_at.epochMillis, r.ended"""

_CUSTOMER_ROW: Final = f"""[{_RECORD},
    COLLECT {{ MATCH (r)-[l:{"|".join(LINK_TYPES.values())}]->(v) RETURN {_LINK} }},
    COLLECT {{ MATCH (r)-[m:SAME_AS]->(o:Customer) RETURN [o.key, m.at.epochMillis] }},
    COLLECT {{ MATCH (r)-[b:NEVER_SAME]->(o:Customer)
      RETURN [o.key, b.at.epochMillis, b.expires_at.epochMillis, b.lapsed] }}]"""

_ORDER_ROW: Final = f"""[{_RECORD},
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
  UNWIND $keys.customers AS k MATCH (n:Customer {key: k})
  RETURN 'customer:' + k AS name, n.component AS component, null AS identity, false AS shared, false AS events
  UNION ALL
  UNWIND $keys.orders AS k MATCH (n:Order {key: k})
  RETURN 'order:' + k AS name, n.component AS component, null AS identity, false AS shared, false AS events
  UNION ALL
  UNWIND $keys.emails AS k MATCH (n:Email {key: k})
  RETURN k AS name, n.component AS component, n.identity AS identity, n.shared AS shared, n.events AS events
  UNION ALL
  UNWIND $keys.phones AS k MATCH (n:Phone {key: k})
  RETURN k AS name, n.component AS component, n.identity AS identity, n.shared AS shared, n.events AS events
  UNION ALL
  UNWIND $keys.devices AS k MATCH (n:Device {key: k})
  RETURN k AS name, n.component AS component, n.identity AS identity, n.shared AS shared, n.events AS events
  UNION ALL
  UNWIND $keys.external_ids AS k MATCH (n:ExternalId {key: k})
  RETURN k AS name, n.component AS component, n.identity AS identity, n.shared AS shared, n.events AS events
}
WITH name, component, identity, shared, events ORDER BY component
WITH collect([name, component, identity, shared, events]) AS touched, collect(DISTINCT component) AS components
CALL (components) {
  UNWIND components AS c MATCH (i:Identity {id: c}) SET i.lock = $lock
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
on one engine. Members are read after the locks are held, since reads see whatever is committed. All keys are one
parameter: Neo4j plans a text anew for each order of magnitude of each parameter that is a list.
"""

READ_NOBODYS: Final = {
    "customer": f"""
UNWIND $keys AS k MATCH (r:Customer {{key: k}}) SET r.lock = $lock WITH r
OPTIONAL MATCH (r)-[:MEMBER_OF]->(i:Identity)
RETURN {_CUSTOMER_ROW} AS row, false AS claimed, COLLECT {{ MATCH (r)-[:SAME_AS]-(o:Customer) RETURN o.key }} AS matched
""",
    "order": f"""
UNWIND $keys AS k MATCH (r:Order {{key: k}}) SET r.lock = $lock WITH r
OPTIONAL MATCH (r)-[:MEMBER_OF]->(i:Identity)
RETURN {_ORDER_ROW} AS row, COUNT {{ (r)<-[:PLACED]-(:Customer) }} > 0 AS claimed, [] AS matched
""",
}
"""Records that are nobody's, and so in no component, are locked each by itself. ``matched`` are the customers that they
were said to be one with: in no component of theirs, they can't be found by it."""

READ_ENDED: Final = {
    record: f"""
UNWIND $keys AS k MATCH (r:{label} {{key: k}})
MATCH (r)-[l:HAD]->(v) WHERE l.resumed_at IS NULL
RETURN r.key, {_LINK} AS link
"""
    for record, label in RECORD_LABELS.items()
}
"""The links of records that hold no longer."""

LOCK_LOOSE: Final = {
    label: f"""
UNWIND $keys AS k MATCH (v:{label} {{key: k}}) SET v.lock = $lock WITH v
RETURN v.key, v.component, coalesce(v.shared, false)
"""
    for label in IDENTIFIER_LABELS
}
"""Identifiers that no link of holds are in no component, and so are locked each by itself."""

READ_SHARED: Final = {
    label: f"UNWIND $keys AS k MATCH (v:{label} {{key: k}}) WHERE v.shared RETURN v.key" for label in IDENTIFIER_LABELS
}

_GIVEN: Final = {
    record: f"COLLECT {{ MATCH (r)-[l:{'|'.join(types.values())}]->(x) RETURN [x.key, l.source, l.assurance] }}"
    for record, types in RECORD_LINK_TYPES.items()
}

READ_HOLDERS: Final = {
    label: f"""
MATCH (v:{label} {{key: $key}})
CALL (v) {{
  MATCH (v)<-[:{LINK_TYPES[label]}]-(r:Customer) WITH DISTINCT r LIMIT $limit
  RETURN 'customer:' + r.key AS name, {_GIVEN["customer"]} AS links
  UNION ALL
  MATCH (v)<-[:{ORDER_LINK_TYPES[label]}]-(r:Order) WITH DISTINCT r LIMIT $limit
  RETURN 'order:' + r.key AS name, {_GIVEN["order"]} AS links
}}
RETURN name, links
"""
    for label in IDENTIFIER_LABELS
}
"""Records at a shared identifier, with what each is given to have: a hub is read only when it may be one no longer."""

READ_ORDERS: Final = """
UNWIND $orders AS k MATCH (o:Order {key: k})
OPTIONAL MATCH (c:Customer)-[:PLACED]->(o)
RETURN o.key, o.observed_at.epochMillis, o.digest, o.deleted_at.epochMillis, c.key, o.placed_at.epochMillis, o.said
"""

READ_LEFT: Final = """
UNWIND $rows AS r MATCH (c:Customer {key: r[0]}) WITH c, r
MATCH (c)-[:PLACED]->(o:Order) WHERE o.source = r[1] AND r[2] IN o.said AND NOT o.key IN $orders
RETURN r[0], r[1], r[2], max(o.placed_at.epochMillis)
"""
"""When the last of a customer's orders that say the same was placed, but for those that are at hand."""

READ_EVENTS: Final = "UNWIND $events AS k MATCH (e:Event {key: k}) RETURN e.key"

SPLIT_IDENTITIES: Final = "UNWIND $rows AS id MATCH (i:Identity {id: id}) SET i.split = true"

IDENTITY_ALONE: Final = """id: {0}.id, anonymous: {0}.anonymous, created_at: {0}.created_at, split: {0}.split,
  lock: {0}.lock, leaving: CASE WHEN size({0}.segments) > 0 THEN {0}.segments ELSE {0}.leaving END"""
"""What an identity that ends has of its own; all else on it was written by scoring (:mod:`onefold.graph.predictions`)
and from frames (:mod:`onefold.graph.memberships`). The feed has yet to tell which segments it leaves."""

ERASE_IDENTITIES: Final = f"""
UNWIND $rows AS id MATCH (i:Identity {{id: id}})
SET i = {{{IDENTITY_ALONE.format("i")}, erased_at: datetime({{epochMillis: $now}})}}
WITH i MATCH (i)<-[:MERGED_INTO*0..1]-(older) MATCH (older)-[:SCORED]->(s:Score) DETACH DELETE s
"""
"""With all that was ever predicted of them, and of those that had merged into them."""

NAME_IDENTITIES: Final = "UNWIND $rows AS id MATCH (i:Identity {id: id}) SET i.anonymous = false"

PLACE_IDENTIFIERS: Final = {
    label: f"""
UNWIND $rows AS r MATCH (v:{label} {{key: r[0]}})
WITH v, r, v.identity AS before
SET v.turned = CASE WHEN coalesce(v.shared, false) = r[3] THEN v.turned ELSE coalesce(v.turned, []) + [$now] END
SET v.component = r[1], v.identity = r[2], v.shared = r[3]
WITH v, before WHERE before IS NOT NULL AND v.identity IS NULL
MATCH (i:Identity {{id: before}}) MERGE (v)-[:LEFT]->(i)
"""
    for label in IDENTIFIER_LABELS
}
"""``turned`` tells when one began or ceased to be shared; at what it ``LEFT`` the way back into its past begins."""

_NEW_LINK: Final = """{source: l[1], assurance: l[2], confidence: l[3], first_seen: datetime({epochMillis: l[4]}),
    last_seen: datetime({epochMillis: l[5]}), observations: l[6], stated_by: l[7],
    recorded_at: datetime({epochMillis: $now})}"""

_NEW_LINKS: Final = "".join(
    f"""  CALL (c, links) {{
    UNWIND links[{place}] AS l MATCH (v:{label} {{key: l[0]}}) CREATE (c)-[:{type_} {_NEW_LINK}]->(v)
    RETURN count(*) AS n{place}
  }}
"""
    for place, (label, type_) in enumerate(LINK_TYPES.items())
)

CREATE: Final = (
    """
CALL () {
  UNWIND $rows.identities AS r
  CREATE (:Identity {id: r[0], anonymous: r[1], created_at: datetime({epochMillis: $now})})
  RETURN count(*) AS identities
}
"""
    + "".join(
        f"""CALL () {{
  UNWIND $rows.{parameter} AS r
  CREATE (:{label} {{key: r[0], kind: r[1], value: r[2], component: r[3], identity: r[4], shared: r[5], events: r[6]}})
  RETURN count(*) AS {parameter}
}}
"""
        for label, parameter in IDENTIFIER_PARAMETERS.items()
    )
    + f"""CALL () {{
  UNWIND $rows.customers AS r MATCH (i:Identity {{id: r[1]}})
  CREATE (c:Customer {{key: r[0]}})-[:MEMBER_OF]->(i)
  SET c += r[2], c.created_at = datetime({{epochMillis: $now}}),
    c.recorded_at = CASE WHEN r[3] IS NULL THEN null ELSE datetime({{epochMillis: $now}}) END,
    c.observed_at = CASE WHEN r[3] IS NULL THEN null ELSE datetime({{epochMillis: r[3]}}) END
  WITH c, r[4] AS links
{_NEW_LINKS}  RETURN count(*) AS customers
}}
RETURN customers
"""
)
"""New identities, identifiers and customers, each where there are any; a new customer with its links, by identifier
label: one look at each record, where links apart would need two. This is what most commits write, so it is one text:
each statement more is a round trip."""

CREATE_NOBODYS: Final = {
    record: f"""
UNWIND $rows AS r CREATE (n:{label} {{key: r[0], source: r[1], created_at: datetime({{epochMillis: $now}})}})
"""
    for record, label in RECORD_LABELS.items()
}
"""Records that are only known to be gone."""

_KEEP_VERSION: Final = {
    record: f"""
UNWIND $rows AS r MATCH (n:{label} {{key: r[0]}})
CREATE (n)-[:WAS]->(v:Version) SET v += properties(n), v.component = null, v.lock = null, v.customer = r[1],
  v.replaced_at = datetime({{epochMillis: $now}})
"""
    for record, label in RECORD_LABELS.items()
}

KEEP_VERSIONS: Final = {
    "customer": _KEEP_VERSION["customer"],
    "order": f"""{_KEEP_VERSION["order"]}WITH n, v MATCH (n)-[c:CONTAINS]->(p)
CREATE (v)-[:CONTAINED {{line: c.line, quantity: c.quantity, unit_price_micros: c.unit_price_micros}}]->(p)
""",
}
"""What a record said until now. It said so from ``recorded_at`` on."""

_RECORDED: Final = """CASE WHEN {0}.digest = r[1].digest THEN {0}.recorded_at
    ELSE datetime({{epochMillis: $now}}) END AS recorded_at,
  CASE WHEN {0}.digest = r[1].digest THEN coalesce({0}.confirmed, []) + [$now, {0}.observed_at.epochMillis]
    END AS confirmed"""
"""A version that only comes again keeps its place; ``confirmed`` tells, in pairs, at which instant what was known to
have been observed at which other one until then."""

DESCRIBE_CUSTOMERS: Final = f"""
UNWIND $rows AS r MATCH (c:Customer {{key: r[0]}})
WITH c, r, c.created_at AS created_at, c.deleted_at AS deleted_at, c.ended AS ended,
  {_RECORDED.format("c")}
SET c = r[1], c.created_at = created_at, c.observed_at = datetime({{epochMillis: r[2]}}), c.deleted_at = deleted_at,
    c.ended = ended, c.recorded_at = recorded_at, c.confirmed = confirmed
"""

CREATE_ORDERS: Final = """
UNWIND $rows AS r
CREATE (o:Order {key: r[0]})
SET o += r[1], o.refunded_micros = 0, o.placed_at = datetime({epochMillis: r[2]}),
    o.observed_at = datetime({epochMillis: r[3]}), o.created_at = datetime({epochMillis: $now}),
    o.recorded_at = datetime({epochMillis: $now})
"""

DESCRIBE_ORDERS: Final = f"""
UNWIND $rows AS r MATCH (o:Order {{key: r[0]}})
WITH o, r, o.created_at AS created_at, o.component AS component, coalesce(o.refunded_micros, 0) AS refunded,
  o.deleted_at AS deleted_at, o.ended AS ended,
  {_RECORDED.format("o")}
SET o = r[1], o.component = component, o.created_at = created_at, o.refunded_micros = refunded,
    o.placed_at = datetime({{epochMillis: r[2]}}), o.observed_at = datetime({{epochMillis: r[3]}}),
    o.deleted_at = deleted_at, o.ended = ended, o.recorded_at = recorded_at, o.confirmed = confirmed
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

TAKE_ORDERS: Final = "UNWIND $rows AS k MATCH (:Customer)-[p:PLACED]->(:Order {key: k}) DELETE p"
"""Takes orders from the customers who were said to have placed them."""

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
  WITH n, f, n.observed_at IS NULL AS new,
    n.at.epochMillis = f[1] AND n.amount_micros = f[2] AND coalesce(n.sku, '') = coalesce(f[3], '')
      AND n.quantity = f[4] AND coalesce(n.reason, '') = coalesce(f[5], '') AS same
  WHERE new OR n.observed_at.epochMillis <= f[6]
  CALL (n, new, same) {
    WITH n WHERE NOT new AND NOT same
    CREATE (n)-[:WAS]->(v:Version) SET v += properties(n), v.replaced_at = datetime({epochMillis: $now})
    RETURN count(*) AS kept
  }
  SET n.recorded_at = CASE WHEN new OR kept > 0 THEN datetime({epochMillis: $now}) ELSE n.recorded_at END
  SET n.at = datetime({epochMillis: f[1]}), n.amount_micros = f[2], n.sku = f[3], n.quantity = f[4], n.reason = f[5],
    n.observed_at = datetime({epochMillis: f[6]})
  RETURN count(*) AS refunds
}
CALL (o, refunds) { MATCH (o)-[:REFUNDED]->(n:Refund) RETURN sum(n.amount_micros) AS refunded }
SET o.refunded_micros = refunded
"""

MARK_EVENTS: Final = "UNWIND $rows AS k MATCH (v:Device {key: k}) SET v.events = true"

CREATE_EVENTS: Final = {
    label: f"""
UNWIND $rows AS r MATCH (n:{label} {{key: r[0]}}) UNWIND r[1] AS e
CREATE (n)-[:DID]->(v:Event {{key: e[0]}})
SET v += e[1], v.at = datetime({{epochMillis: e[2]}}), v.recorded_at = datetime({{epochMillis: $now}})
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

_WITH_LINK: Final = {
    record: f"""UNWIND $rows AS r MATCH (c:{RECORD_LABELS[record]} {{key: r[0]}}) WITH c, r
MATCH (c)-[l:{"|".join(types.values())}]->(v) WHERE v.key = r[1] AND l.source = r[2] AND l.assurance = r[3]"""
    for record, types in RECORD_LINK_TYPES.items()
}

_WITH_ENDED: Final = {
    record: f"""UNWIND $rows AS r MATCH (c:{label} {{key: r[0]}}) WITH c, r
MATCH (c)-[l:HAD]->(v) WHERE v.key = r[1] AND l.source = r[2] AND l.assurance = r[3] AND l.resumed_at IS NULL"""
    for record, label in RECORD_LABELS.items()
}

_SET_LINK: Final = """SET l.seen = CASE WHEN l.first_seen.epochMillis > r[4]
    THEN coalesce(l.seen, []) + [$now, l.first_seen.epochMillis] ELSE l.seen END
SET l.first_seen = CASE WHEN r[4] IS NULL THEN null ELSE datetime({epochMillis: r[4]}) END,
    l.last_seen = CASE WHEN r[5] IS NULL THEN null ELSE datetime({epochMillis: r[5]}) END,
    l.observations = r[6], l.stated_by = r[7],
    l.sighted_at = CASE WHEN r[8] IS NULL THEN null ELSE datetime({epochMillis: r[8]}) END,
    l.withdrawn_at = CASE WHEN r[9] IS NULL THEN null ELSE datetime({epochMillis: r[9]}) END, l.refused = r[10],
    l.ordered_at = CASE WHEN r[11] IS NULL THEN null ELSE datetime({epochMillis: r[11]}) END"""
"""``seen`` tells, in pairs, at which instant which first sight was known until then: an older one may come later."""

UPDATE_LINKS: Final = {record: f"{text}\n{_SET_LINK}\n" for record, text in _WITH_LINK.items()}

UPDATE_ENDED: Final = {record: f"{text}\n{_SET_LINK}\n" for record, text in _WITH_ENDED.items()}

END_LINKS: Final = {
    record: f"""{text}
CREATE (c)-[h:HAD]->(v) SET h += properties(l), h.ended_at = datetime({{epochMillis: $now}})
DELETE l
"""
    for record, text in _WITH_LINK.items()
}
"""Moves links that hold no longer out of sight of who asks what is; what was stays to be asked for."""

RESUME_LINKS: Final = {
    record: f"{text}\nSET l.resumed_at = datetime({{epochMillis: $now}})\n" for record, text in _WITH_ENDED.items()
}
"""Closes the account of links that hold again."""

CREATE_ENDED: Final = {
    (record, label): f"""
UNWIND $rows AS r MATCH (c:{record_label} {{key: r[0]}}) MATCH (v:{label} {{key: r[1]}})
CREATE (c)-[l:HAD {{source: r[2], assurance: r[3]}}]->(v) WITH l, r
{_SET_LINK}
"""
    for record, record_label in RECORD_LABELS.items()
    for label in IDENTIFIER_LABELS
}
"""Links that never held, since the word against them came first."""

MARK_RECORDS: Final = {
    record: f"""
UNWIND $rows AS r MATCH (n:{label} {{key: r[0]}})
SET n.deleted_at = CASE WHEN r[1] IS NULL THEN null ELSE datetime({{epochMillis: r[1]}}) END, n.ended = r[2]
"""
    for record, label in RECORD_LABELS.items()
}

JOIN_RECORDS: Final = {
    record: f"""
UNWIND $rows AS r MATCH (n:{label} {{key: r[0]}}) MATCH (i:Identity {{id: r[1]}})
SET n.component = r[2] CREATE (n)-[:MEMBER_OF]->(i)
"""
    for record, label in RECORD_LABELS.items()
}
"""Makes guest orders, and customers that come back, members of their identities."""

PART_RECORDS: Final = {
    record: f"""
UNWIND $rows AS k MATCH (n:{label} {{key: k}})-[m:MEMBER_OF]->(i:Identity)
SET n.component = null DELETE m MERGE (n)-[:LEFT]->(i)
"""
    for record, label in RECORD_LABELS.items()
}
"""Makes records nobody's; where they were is where the way back into their past begins."""

PLACE_RECORDS: Final = {
    record: f"UNWIND $rows AS r MATCH (n:{label} {{key: r[0]}}) SET n.component = r[1]"
    for record, label in RECORD_LABELS.items()
}

MOVE_RECORDS: Final = {
    record: f"""
UNWIND $rows AS r MATCH (n:{label} {{key: r[0]}})-[m:MEMBER_OF]->(:Identity) DELETE m
WITH DISTINCT n, r[1] AS id MATCH (i:Identity {{id: id}}) CREATE (n)-[:MEMBER_OF]->(i)
"""
    for record, label in RECORD_LABELS.items()
}
"""Once each, even if something had made a record two identities' member: it is one's then."""

_SAY: Final = {
    word: f"""
UNWIND $rows AS r MATCH (a:Customer {{key: r[0]}}), (b:Customer {{key: r[1]}})
CALL (a, b) {{
  MATCH (a)-[w:{word}]->(b)
  CREATE (a)-[s:SAID]->(b) SET s += properties(w), s.word = '{word}', s.replaced_at = datetime({{epochMillis: $now}})
  RETURN count(*) AS kept
}}
MERGE (a)-[w:{word}]->(b) SET w.recorded_at = datetime({{epochMillis: $now}})
"""
    for word in ("SAME_AS", "NEVER_SAME")
}
"""A word on two records, in the place of the one before, which is kept apart."""

SET_MATCHES: Final = f"""{_SAY["SAME_AS"]}
SET w.confidence = 1.0, w.method = 'operator', w.actor = r[2], w.evidence = r[3], w.at = datetime({{epochMillis: r[4]}})
"""

SET_BANS: Final = f"""{_SAY["NEVER_SAME"]}
SET w.actor = r[2], w.reason = r[3], w.at = datetime({{epochMillis: r[4]}}), w.lapsed = null, w.lapsed_at = null,
    w.expires_at = CASE WHEN r[5] IS NULL THEN null ELSE datetime({{epochMillis: r[5]}}) END
"""

SET_EXPIRIES: Final = """
UNWIND $rows AS r MERGE (x:Expiry {key: r[0]})
SET x.a = r[1], x.b = r[2], x.said_at = datetime({epochMillis: r[3]}),
    x.due_at = CASE WHEN r[4] IS NULL THEN null ELSE datetime({epochMillis: r[4]}) END
"""
"""When bans are due to end, where they can be found by time."""

LAPSE_BANS: Final = """
UNWIND $rows AS r MATCH (a:Customer {key: r[0]})-[n:NEVER_SAME]->(b:Customer {key: r[1]})
SET n.lapsed = true, n.lapsed_at = datetime({epochMillis: $now})
WITH r MATCH (x:Expiry {key: r[2]}) SET x.due_at = null
"""

READ_DUE: Final = """
MATCH (x:Expiry) WHERE x.due_at <= datetime({epochMillis: $now})
RETURN x.a, x.b, x.said_at.epochMillis ORDER BY x.due_at LIMIT $limit
"""

RETIRE_IDENTITIES: Final = f"""
UNWIND $rows AS r MATCH (old:Identity {{id: r[0]}}), (new:Identity {{id: r[1]}})
SET old = {{{IDENTITY_ALONE.format("old")}, merged_into: r[1]}}
CREATE (old)-[:MERGED_INTO {{at: datetime({{epochMillis: $now}}), decision: r[2]}}]->(new)
WITH old, new MATCH (older:Identity)-[m:MERGED_INTO]->(old)
SET older.merged_into = new.id
CREATE (older)-[:MERGED_INTO {{at: m.at, decision: m.decision}}]->(new)
DELETE m
"""
"""Retires identities, and takes their scores, labels and segments from them: nobody who counts people by these is to
count them. Those that had merged into them point to the survivor at once, so no chain ever grows."""

LOCK_LOG: Final = """
MERGE (h:DecisionLog {key: 'head'}) SET h.lock = $lock
RETURN coalesce(h.sequence, 0) AS sequence, coalesce(h.hash, '') AS hash, coalesce(h.at.epochMillis, 0) AS at
"""

APPEND_DECISIONS: Final = """
MATCH (h:DecisionLog {key: 'head'}) SET h.sequence = $sequence, h.hash = $hash, h.at = datetime({epochMillis: $now})
WITH h UNWIND $rows AS r
CREATE (d:Decision {id: r[0], sequence: r[1], kind: r[2], actor: r[3], reason: r[4], members: r[5], origins: r[6],
  identity: r[7], causes: r[8], policy_version: $policy_version, at: datetime({epochMillis: $now}),
  prev_hash: $prev_hash, hash: $hash})
WITH d, r UNWIND r[9] AS id MATCH (i:Identity {id: id}) CREATE (d)-[:AFFECTED]->(i)
"""

READ_ANSWERS: Final = "UNWIND $requests AS k MATCH (q:Request {key: k}) RETURN q.key, q.items, q.answer"

CREATE_ANSWERS: Final = """
UNWIND $rows AS r CREATE (:Request {key: r[0], items: r[1], answer: r[2], at: datetime({epochMillis: $now})})
"""
