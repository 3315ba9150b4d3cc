"""``SegmentService``: segments and labels, who is in them, and why."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import suppress
from typing import Final

import grpc
from google.protobuf.empty_pb2 import Empty

from onefold.graph.errors import InvalidInput, NotReady, Violation
from onefold.graph.memberships import FrameCount, SegmentStretch, Stored, read_counts, read_stored
from onefold.graph.model import Instant
from onefold.graph.page import place_of, size_of, token_of
from onefold.graph.reader import Reader
from onefold.graph.segments import anchors, listed_records
from onefold.segments import clusters, data
from onefold.segments.catalogue import Catalogue, Label, Status
from onefold.segments.check import Rule
from onefold.segments.evaluate import explain
from onefold.segments.printing import text_of
from onefold.segments.problems import InvalidRule
from onefold.segments.reads import Named
from onefold.segments.vocabulary import LABELS, SEGMENTS, Row
from onefold.service import convert, exporting
from onefold.service.defined import Defined, Definer, catalogue_etag
from onefold.service.feed import Feed
from onefold.service.framing import Framing
from onefold.service.interceptors import deadline
from onefold.service.live_frame import About
from onefold.service.studies import Studies
from onefold.v1 import segment_service_pb2 as pb
from onefold.v1 import segment_service_pb2_grpc

_IDS_A_MESSAGE: Final = 1_000
_FIELDS: Final = ("description", "owner", "rule", "records")
_HOUR_MS: Final = 3_600_000
_DAY_MS: Final = 24 * _HOUR_MS
_LOOKALIKES: Final = 1_000
_DESCRIPTION: Final = 2_000
_TOLD: Final = 20
"""Values, products, pairs, paths and words that an insight tells unless another number is asked for."""

_FORMATS: Final[dict[int, exporting.Written]] = {
    pb.EXPORT_FORMAT_CSV: exporting.csv_lines,
    pb.EXPORT_FORMAT_PARQUET: exporting.parquet,
    pb.EXPORT_FORMAT_JSONL: exporting.json_lines,
}


class SegmentServicer(segment_service_pb2_grpc.SegmentServiceServicer):
    """Has definitions checked and kept, and asks the current frame."""

    def __init__(
        self,
        reader: Reader,
        definer: Definer,
        framing: Framing,
        feed: Feed[SegmentStretch],
        clock: Callable[[], Instant],
    ) -> None:
        self._reader = reader
        self._definer = definer
        self._framing = framing
        self._feed = feed
        self._clock = clock
        self._studies = Studies(reader, definer, clock)

    # -- definitions -----------------------------------------------------------------------------------------------

    def CreateSegment(self, request: pb.CreateSegmentRequest, context: grpc.ServicerContext) -> pb.Segment:  # noqa: N802
        """The segment, as it is kept."""
        wanted = request.segment
        defined_by = wanted.WhichOneof("definition")
        if defined_by is None:
            raise InvalidInput([Violation("segment.definition", "must have one of rule, records")])
        rule = wanted.rule if defined_by == "rule" else None
        self._definer.create(
            wanted.key, wanted.description, wanted.owner, rule, wanted.records.records, deadline(context)
        )
        return self._segment(self._definer.current, wanted.key, deadline(context))

    def GetSegment(self, request: pb.GetSegmentRequest, context: grpc.ServicerContext) -> pb.Segment:  # noqa: N802
        """One segment, counted."""
        seconds = deadline(context)
        message = self._segment(self._definer.look(seconds), request.key, seconds)
        message.history.extend(_history(self._read_counts(request.history_count, seconds), f"segment {request.key}"))
        return message

    def ListSegments(  # noqa: N802
        self, request: pb.ListSegmentsRequest, context: grpc.ServicerContext
    ) -> pb.ListSegmentsResponse:
        """One page of the segments, by key."""
        seconds = deadline(context)
        now = self._definer.look(seconds)
        (after,) = place_of("segments", request.page_token, ("",))
        size = size_of(request.page_size)
        keys = sorted(key for key in {*now.catalogue.segments, *now.broken} if key > str(after))
        page = keys[:size]
        return pb.ListSegmentsResponse(
            segments=self._segments(now, page, seconds),
            next_page_token=token_of("segments", (page[-1],)) if len(keys) > size else "",
        )

    def UpdateSegment(self, request: pb.UpdateSegmentRequest, context: grpc.ServicerContext) -> pb.Segment:  # noqa: N802
        """The segment, as it is now."""
        wanted, paths = request.segment, set(request.update_mask.paths)
        named = set(_FIELDS) if not paths or "*" in paths else paths
        has = wanted.WhichOneof("definition")
        asked = {"rule", "records"} & named
        if asked and has not in asked and paths - {"*"}:
            raise InvalidInput([Violation("segment.definition", "must have what the mask names")])
        said: dict[str, str] = {"description": wanted.description, "owner": wanted.owner}
        changes = {name: value for name, value in said.items() if name in named}
        if has == "rule" and "rule" in named:
            changes["rule"] = wanted.rule
        records = wanted.records.records if has == "records" and "records" in named else ()
        self._definer.update(wanted.key, changes, records, wanted.etag, deadline(context))
        return self._segment(self._definer.current, wanted.key, deadline(context))

    def DeleteSegment(self, request: pb.DeleteSegmentRequest, context: grpc.ServicerContext) -> Empty:  # noqa: N802
        """Nothing."""
        self._definer.delete(request.key, request.etag, deadline(context))
        return Empty()

    def ParseRule(self, request: pb.ParseRuleRequest, context: grpc.ServicerContext) -> pb.ParseRuleResponse:  # noqa: N802
        """What a rule comes to, or what is wrong with it."""
        now = self._definer.current
        try:
            text = request.text
            if request.WhichOneof("rule") == "tree":
                text = text_of(data.from_data(convert.parse_tree(request.tree)))
            rule = now.rule(text)
        except InvalidRule as error:
            problems = [
                pb.RuleProblem(place=violation.field, message=violation.rule, start=problem.at[0], end=problem.at[1])
                for violation, problem in zip(error.violations, error.problems, strict=True)
            ]
            return pb.ParseRuleResponse(problems=problems)
        except InvalidInput as error:
            problems = [pb.RuleProblem(place=violation.field, message=violation.rule) for violation in error.violations]
            return pb.ParseRuleResponse(problems=problems)
        return convert.rule_to_proto(rule, self._as_of())

    def GetCatalogue(self, request: pb.GetCatalogueRequest, context: grpc.ServicerContext) -> pb.Catalogue:  # noqa: N802
        """The catalogue in force."""
        return _catalogue_to_proto(self._definer.look(deadline(context)))

    def ApplyCatalogue(  # noqa: N802
        self, request: pb.ApplyCatalogueRequest, context: grpc.ServicerContext
    ) -> pb.ApplyCatalogueResponse:
        """What a catalogue changes."""
        lists = {key: of.records for key, of in request.lists.items()}
        changes, now = self._definer.apply(request.text, lists, request.etag, request.dry_run, deadline(context))
        return pb.ApplyCatalogueResponse(
            changes=[f"{change.of}: {change.words}" for change in changes], catalogue=_catalogue_to_proto(now)
        )

    # -- who is in ---------------------------------------------------------------------------------------------------

    def PreviewSegment(  # noqa: N802
        self, request: pb.PreviewSegmentRequest, context: grpc.ServicerContext
    ) -> pb.PreviewSegmentResponse:
        """Who is in, in numbers."""
        rule = self._rule(request.group)
        with self._framing.current.asked(deadline(context)) as frame:
            began = time.perf_counter()
            members, unknown = frame.count(rule)
            elapsed = time.perf_counter() - began
            response = pb.PreviewSegmentResponse(
                member_count=members,
                unknown_count=unknown,
                share=members / frame.about.people if frame.about.people else 0.0,
                elapsed_ms=1_000 * elapsed,
                frame=convert.frame_to_proto(frame.about),
            )
            if request.example_count:
                response.examples.extend(frame.some(rule, request.example_count))
            if request.overlaps:
                response.overlaps.extend(
                    pb.Overlap(segment=each.segment, member_count=each.both, other_count=each.other)
                    for each in frame.overlaps(rule)
                    if each.segment != request.group.segment
                )
        return response

    def ListSegmentMembers(  # noqa: N802
        self, request: pb.ListSegmentMembersRequest, context: grpc.ServicerContext
    ) -> pb.ListSegmentMembersResponse:
        """One page of the members, by id."""
        rule = self._rule(request.group)
        asked = ("members", request.group.WhichOneof("group"), request.group.segment or request.group.rule)
        (after,) = place_of(asked, request.page_token, ("",))
        size = size_of(request.page_size)
        with self._framing.current.asked(deadline(context)) as frame:
            found = frame.page(rule, str(after), size + 1)
            return pb.ListSegmentMembersResponse(
                identities=found[:size],
                next_page_token=token_of(asked, (found[size - 1],)) if len(found) > size else "",
                frame=convert.frame_to_proto(frame.about),
            )

    def StreamSegmentMembers(  # noqa: N802
        self, request: pb.StreamSegmentMembersRequest, context: grpc.ServicerContext
    ) -> Iterator[pb.StreamSegmentMembersResponse]:
        """All members, by id, from one frame."""
        rule = self._rule(request.group)
        with self._framing.current.asked(deadline(context)) as frame:
            yield pb.StreamSegmentMembersResponse(frame=convert.frame_to_proto(frame.about))
            for batch in frame.rows(rule, after=request.after.lower()):
                ids = batch.column(0).to_pylist()
                for start in range(0, len(ids), _IDS_A_MESSAGE):
                    yield pb.StreamSegmentMembersResponse(identities=ids[start : start + _IDS_A_MESSAGE])

    def CheckMembership(  # noqa: N802
        self, request: pb.CheckMembershipRequest, context: grpc.ServicerContext
    ) -> pb.CheckMembershipResponse:
        """Whether a person is in, and what each clause came to, by what is on their identity."""
        rule = self._rule(request.group)
        live = self._framing.current
        live.check(rule)
        about, seconds = live.about, deadline(context)
        subject = convert.parse_subject(request.subject, self._reader.policy)
        stored = read_stored(self._reader.within(seconds), subject)
        row: Row | None = _row(stored, rule)
        if not stored.frame:  # the frame may be there and not yet on identities
            with live.asked(seconds) as frame:
                about, row = frame.about, frame.row(stored.identity, rule)
        if row is None:
            raise NotReady(
                f"identity {stored.identity}",
                "is in no frame: it is new, only known by a device, or nothing is left of it",
            )
        explanation = explain(rule, row, about.as_of)
        return convert.membership_to_proto(stored.identity, explanation, rule, about)

    def WatchSegment(  # noqa: N802
        self, request: pb.WatchSegmentRequest, context: grpc.ServicerContext
    ) -> Iterator[pb.WatchSegmentResponse]:
        """Who comes and who goes, as it is written."""
        after = request.after_sequence if request.HasField("after_sequence") else None
        for stretch in self._feed.watch(after, frozenset(request.segments), context.is_active):
            yield convert.segment_stretch_to_proto(stretch)

    def SnapshotSegment(self, request: pb.SnapshotSegmentRequest, context: grpc.ServicerContext) -> pb.Segment:  # noqa: N802
        """The new segment."""
        rule = self._rule(request.group)
        seconds = deadline(context)
        with self._framing.current.asked(seconds) as frame:
            ids = [id for batch in frame.rows(rule) for id in batch.column(0).to_pylist()]
        records = anchors(self._reader.within(seconds), ids)
        if not records:
            raise InvalidInput([Violation("group", "nobody is in it: there is nothing to fix")])
        self._definer.create(request.key, request.description, request.owner, None, records, deadline(context))
        return self._segment(self._definer.current, request.key, deadline(context))

    def ExportSegment(  # noqa: N802
        self, request: pb.ExportSegmentRequest, context: grpc.ServicerContext
    ) -> Iterator[pb.ExportSegmentResponse]:
        """A file of the members, in pieces, from one frame."""
        rule = self._rule(request.group)
        kinds = sorted(self._reader.policy.kinds)
        if request.contactable_on and request.contactable_on not in kinds:
            raise InvalidInput([Violation("contactable_on", f"must be one of {', '.join(kinds)}")])
        with self._framing.current.asked(deadline(context)) as frame:
            rows = frame.rows(rule, list(request.features), contactable_on=request.contactable_on)
            yield pb.ExportSegmentResponse(frame=convert.frame_to_proto(frame.about))
            for piece in _FORMATS[request.format](rows):
                yield pb.ExportSegmentResponse(data=piece)

    # -- what they are like ------------------------------------------------------------------------------------------

    def DescribeSegment(  # noqa: N802
        self, request: pb.DescribeSegmentRequest, context: grpc.ServicerContext
    ) -> pb.DescribeSegmentResponse:
        """What the members are like, beside everybody."""
        rule = self._rule(request.group)
        most = request.most or _TOLD
        found = self._studies.describe(rule, self._framing.current, most, deadline(context))
        return convert.insight_to_proto(*found)

    def MeasureSegment(  # noqa: N802
        self, request: pb.MeasureSegmentRequest, context: grpc.ServicerContext
    ) -> pb.MeasureSegmentResponse:
        """What the members did, beside comparable people."""
        rule = self._rule(request.group)
        outside = self._rule(request.outside, "outside") if request.HasField("outside") else None
        about = self._framing.current.about
        start = about.as_of - request.days * _DAY_MS
        if request.HasField("start_time"):
            start = convert.parse_timestamp(request.start_time)
        found = self._studies.measure(rule, outside, start, request.days, deadline(context))
        return convert.effect_to_proto(found, about)

    def FindLookalikes(  # noqa: N802
        self, request: pb.FindLookalikesRequest, context: grpc.ServicerContext
    ) -> pb.FindLookalikesResponse:
        """Who looks like the members."""
        rule = self._rule(request.group)
        size = request.size or _LOOKALIKES
        if request.key and request.key in self._definer.look(deadline(context)).catalogue.segments:
            raise InvalidInput([Violation("key", f"there is a segment {request.key}: call yours otherwise")])
        found, about = self._studies.lookalikes(rule, self._framing.current, size, deadline(context))
        if request.key:
            ids = found.ranking["identity"].to_pylist()
            records = anchors(self._reader.within(deadline(context)), ids)
            words = f"The {len(ids):,} people who look most like {request.group.segment or request.group.rule}"
            self._definer.create(request.key, words[:_DESCRIPTION], "", None, records, deadline(context))
        return convert.lookalikes_to_proto(found, about)

    def FindClusters(  # noqa: N802
        self, request: pb.FindClustersRequest, context: grpc.ServicerContext
    ) -> pb.FindClustersResponse:
        """Who is alike."""
        previous = clusters.parse(request.previous) if request.previous else None
        features = request.features or (previous.features if previous else clusters.FEATURES)
        found = self._studies.clusters(tuple(features), previous, self._framing.current, deadline(context))
        return convert.clusters_to_proto(*found)

    # -- labels ------------------------------------------------------------------------------------------------------

    def ListLabels(self, request: pb.ListLabelsRequest, context: grpc.ServicerContext) -> pb.ListLabelsResponse:  # noqa: N802
        """The labels, counted."""
        seconds = deadline(context)
        now = self._definer.look(seconds)
        counts = self._read_counts(request.history_count, seconds)
        counted, about = self._counts(seconds)
        response = pb.ListLabelsResponse(frame=None if about is None else convert.frame_to_proto(about))
        for key in sorted(now.catalogue.labels):
            label = now.catalogue.labels[key]
            message = _label_to_proto(label, now.catalogue)
            if about is not None:
                message.member_count = counted.get(f"label {key}", 0)
                message.share = message.member_count / about.people if about.people else 0.0
            message.doubts.extend(doubts(label, message, about, self._clock()))
            message.history.extend(_history(counts, f"label {key}"))
            response.labels.append(message)
        return response

    # -- parts of answers --------------------------------------------------------------------------------------------

    def _segment(self, now: Defined, key: str, seconds: float | None) -> pb.Segment:
        (message,) = self._segments(now, [key], seconds)
        return message

    def _segments(self, now: Defined, keys: Sequence[str], seconds: float | None) -> list[pb.Segment]:
        """Segments as messages, counted as far as there is a frame that can be asked. Raises NotFound."""
        stored = now.stored.segments
        messages = [convert.segment_to_proto(stored[key] if key in stored else now.segment(key)) for key in keys]
        for message in messages:
            if message.key not in stored and (list := now.lists.get(message.key)):
                message.record_count = len(listed_records(self._reader.within(seconds), list))
        with suppress(NotReady), self._framing.current.asked(seconds) as frame:
            asked = {key: now.membership(key) for key in keys if key not in now.broken}
            counted = frame.members({key: asked[key] for key in asked if self._framing.knows(key, now)})
            for message in messages:
                if message.key in counted:
                    message.member_count = counted[message.key]
                    message.frame.CopyFrom(convert.frame_to_proto(frame.about))
        return messages

    def _rule(self, group: pb.Group, field: str = "group") -> Rule:
        now = self._definer.current
        if group.WhichOneof("group") == "rule":
            return now.check(group.rule, f"{field}.rule")
        if group.segment not in now.catalogue.segments:
            now = self._definer.look()  # another replica may have made it just now
        return now.membership(group.segment)

    def _as_of(self) -> Instant:
        try:
            return self._framing.current.about.as_of
        except NotReady:
            return self._clock()

    def _read_counts(self, frames: int, seconds: float | None) -> list[FrameCount]:
        return read_counts(self._reader.within(seconds), frames) if frames else []

    def _counts(self, seconds: float | None) -> tuple[dict[str, int], About | None]:
        try:
            with self._framing.current.asked(seconds) as frame:
                return dict(frame.counts().members), frame.about
        except NotReady:
            return {}, None


def doubts(label: Label, counted: pb.Label, about: About | None, now: Instant) -> Iterable[str]:
    """What a label that was counted in a frame is doubted for, in words."""
    if label.status is not Status.ACTIVE or about is None:
        return
    if counted.member_count == 0:
        yield "nobody has it"
    elif counted.member_count == about.people:
        yield "everybody has it"
    if not counted.read_by and not label.ladder:
        yield "no label and no segment reads it"
    age = now - about.created_at
    if age > label.refresh_hours * _HOUR_MS:
        yield f"it was counted {age // _HOUR_MS} hours ago, and {label.refresh_hours} are allowed"


def _row(stored: Stored, rule: Rule) -> Row:
    """What is on an identity, as far as a rule reads it."""
    known = {key: stored.properties.get(feature.property) for key, feature in rule.features.items()}
    return {**known, LABELS: stored.properties.get(LABELS), SEGMENTS: stored.properties.get(SEGMENTS)}


def _history(counts: Iterable[FrameCount], name: str) -> Iterator[pb.MemberCount]:
    """How many had it in each of the frames that knew it."""
    for count in counts:
        if name in count.members:
            as_of = convert.timestamp_to_proto(count.as_of)
            yield pb.MemberCount(as_of_time=as_of, member_count=count.members[name])


def _catalogue_to_proto(now: Defined) -> pb.Catalogue:
    message = pb.Catalogue(text=now.text, version=now.file.number, etag=catalogue_etag(now.stored))
    if now.stored.catalogue is not None:
        message.update_time.CopyFrom(convert.timestamp_to_proto(now.stored.catalogue.updated_at))
    return message


def _label_to_proto(label: Label, catalogue: Catalogue) -> pb.Label:
    return pb.Label(
        key=label.key,
        layer=label.layer.value,
        description=label.description,
        rule=label.rule.text,
        owner=label.owner,
        status=label.status.value,
        read_by=map(str, catalogue.readers(Named("label", label.key))),
    )
