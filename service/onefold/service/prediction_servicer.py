"""``PredictionService``: models, and scores with reasons."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from functools import cache
from typing import Final

import grpc
from google.longrunning.operations_pb2 import Operation
from google.protobuf.message import Message

from onefold.graph import columns
from onefold.graph.errors import InvalidInput, NotFound, NotReady, Violation
from onefold.graph.identity import not_found
from onefold.graph.model import Instant, to_datetime
from onefold.graph.page import Page, place_of, size_of, token_of
from onefold.graph.partitions import partition_at
from onefold.graph.reader import Reader
from onefold.graph.scan import scan
from onefold.graph.subject import Subject
from onefold.ml import churn
from onefold.ml.panel import DAY
from onefold.ml.registry import Entry, Registry
from onefold.service import convert
from onefold.service.drifting import moved
from onefold.service.interceptors import deadline
from onefold.service.operations import Operations, Progress
from onefold.service.predictor import Churn, Predictor, known_until
from onefold.service.status import status_of
from onefold.service.wire import Batch
from onefold.v1 import prediction_service_pb2, prediction_service_pb2_grpc

DEFAULT_HORIZON_DAYS: Final = 90
DEFAULT_REASONS: Final = 3
DEFAULT_PRODUCTS: Final = 5

_READING: Final = 0.1
"""The share of a training that goes into reading the columns."""


class PredictionServicer(prediction_service_pb2_grpc.PredictionServiceServicer):
    """Trains by operations, keeps models in the registry, and scores with the one in use."""

    def __init__(
        self,
        reader: Reader,
        registry: Registry,
        predictor: Predictor,
        operations: Operations,
        clock: Callable[[], Instant],
        members: Callable[[str, float | None], Collection[str]],
    ) -> None:
        """``members`` says who is in a segment, by its key, within some seconds."""
        self._reader = reader
        self._registry = registry
        self._predictor = predictor
        self._operations = operations
        self._clock = clock
        self._members = members

    def TrainModel(  # noqa: N802
        self, request: prediction_service_pb2.TrainModelRequest, context: grpc.ServicerContext
    ) -> Operation:
        """The operation that trains a model and makes it the one in use, unless it is surely worse than that."""
        horizon_days = request.horizon_days or DEFAULT_HORIZON_DAYS
        known_until = self._known_until(request, horizon_days, deadline(context))
        started = prediction_service_pb2.TrainModelMetadata(
            stage="waiting", start_time=convert.timestamp_to_proto(self._clock())
        )

        def work(progress: Progress, _cancelled: Callable[[], bool]) -> Message:
            def tell(stage: str, share: float) -> None:
                progress(
                    prediction_service_pb2.TrainModelMetadata(
                        stage=stage, progress=share, start_time=started.start_time
                    )
                )

            return self._train(horizon_days, known_until, tell)

        return self._operations.start("TrainModel", started, work, request_id=request.request_id, alone=True)

    def GetModel(  # noqa: N802
        self, request: prediction_service_pb2.GetModelRequest, context: grpc.ServicerContext
    ) -> prediction_service_pb2.Model:
        """One model, with its card, and how far its customers have moved if that is asked for."""
        entry = self._entry(convert.parse_model_name(request.name))
        if not request.drift:
            return convert.model_to_proto(entry)
        reader = self._reader.within(deadline(context))
        return convert.model_to_proto(entry, moved(reader, self._registry.load(entry.id), self._clock))

    def PromoteModel(  # noqa: N802
        self, request: prediction_service_pb2.PromoteModelRequest, context: grpc.ServicerContext
    ) -> prediction_service_pb2.Model:
        """The model, in use."""
        model_id = convert.parse_model_name(request.name)
        self._registry.promote(model_id)
        return convert.model_to_proto(self._entry(model_id))

    def ListModels(  # noqa: N802
        self, request: prediction_service_pb2.ListModelsRequest, context: grpc.ServicerContext
    ) -> prediction_service_pb2.ListModelsResponse:
        """One page of the models, newest first."""
        page = _page(self._registry.entries(), request.page_size, request.page_token)
        return prediction_service_pb2.ListModelsResponse(
            models=map(convert.model_to_proto, page.items), next_page_token=page.next_token
        )

    def ScoreChurn(  # noqa: N802
        self, request: prediction_service_pb2.ScoreChurnRequest, context: grpc.ServicerContext
    ) -> prediction_service_pb2.ChurnScore:
        """One person's score, and why."""
        subject = convert.parse_subject(request.subject, self._reader.policy)
        scores = self._predictor.churn([subject], _horizon(request), sure=True, seconds=deadline(context))
        return convert.churn_to_proto(self._score_of(subject, scores, context), _top(request))

    def BatchScoreChurn(  # noqa: N802
        self,
        request: Batch[prediction_service_pb2.BatchScoreChurnRequest],  # type: ignore[override]
        context: grpc.ServicerContext,
    ) -> prediction_service_pb2.BatchScoreChurnResponse:
        """A score, or why there is none, per subject; people are found and features computed for all at once."""
        subjects = [self._parsed(request, index) for index in range(len(request.message.subjects))]
        good = [subject for subject in subjects if isinstance(subject, Subject)]
        scores = self._predictor.churn(good, _horizon(request.message), sure=True, seconds=deadline(context))
        top = _top(request.message)
        response = prediction_service_pb2.BatchScoreChurnResponse()
        for index, subject in enumerate(subjects):
            result = response.results.add(index=index)
            try:
                if isinstance(subject, InvalidInput):
                    raise subject
                result.score.CopyFrom(convert.churn_to_proto(self._score_of(subject, scores, context), top))
            except (InvalidInput, NotFound, NotReady) as error:
                result.status.CopyFrom(status_of(error))
        return response

    def StreamScores(  # noqa: N802
        self, request: prediction_service_pb2.StreamScoresRequest, context: grpc.ServicerContext
    ) -> Iterator[prediction_service_pb2.StreamScoresResponse]:
        """Everybody's scores, or a segment's, block by block."""
        seconds = deadline(context)
        among = self._members(request.segment, seconds) if request.segment else None
        blocks = self._predictor.everybody(_horizon(request), request.after, among=among, seconds=seconds)
        yield from (convert.block_to_proto(block) for block, _ in blocks)

    def GetPredictions(  # noqa: N802
        self, request: prediction_service_pb2.GetPredictionsRequest, context: grpc.ServicerContext
    ) -> prediction_service_pb2.Predictions:
        """All that is predicted of one person."""
        subject = convert.parse_subject(request.subject, self._reader.policy)
        outlook = self._predictor.outlook(subject, _horizon(request), _products(request), seconds=deadline(context))
        return convert.outlook_to_proto(outlook, _top(request))

    def _parsed(
        self, request: Batch[prediction_service_pb2.BatchScoreChurnRequest], index: int
    ) -> Subject | InvalidInput:
        """The subject at this place, or what is wrong with it."""
        try:
            request.check(index)
            return convert.parse_subject(request.message.subjects[index], self._reader.policy, f"subjects[{index}]")
        except InvalidInput as error:
            return error

    def _score_of(
        self, subject: Subject, scores: Mapping[Subject, Churn | NotReady], context: grpc.ServicerContext
    ) -> Churn:
        """Raises NotFound if the subject leads to nobody, NotReady if they have not bought anything."""
        if subject not in scores:
            raise not_found(self._reader.within(deadline(context)), subject)
        found = scores[subject]
        if isinstance(found, NotReady):
            raise found
        return found

    def _known_until(
        self, request: prediction_service_pb2.TrainModelRequest, horizon_days: int, seconds: float | None
    ) -> Instant:
        """Up to when a training knows the graph: one horizon after the cutoff of its features.

        That horizon must have passed in the data, or who comes back next week would be taken for lost.
        """
        known = known_until(self._reader.within(seconds), self._clock) or self._clock()
        if not request.HasField("cutoff_time"):
            return known
        until = convert.parse_timestamp(request.cutoff_time) + horizon_days * DAY
        if until > known:
            latest = to_datetime(known - horizon_days * DAY).isoformat(timespec="seconds")
            raise InvalidInput(
                [Violation("cutoff_time", f"must be one horizon before the newest order or earlier: by {latest}")]
            )
        return until

    def _train(
        self, horizon_days: int, known_until: Instant, tell: Callable[[str, float], None]
    ) -> prediction_service_pb2.Model:
        tell("reading orders", 0.0)
        orders = columns.orders(self._reader, known_until)
        tell("reading events", _READING / 2)
        events = columns.events(self._reader, known_until)
        tell("reading products and who was who", _READING * 0.7)
        lines = columns.lines(self._reader, known_until)
        stored = scan(self._reader)
        model = churn.train(
            orders,
            events,
            cutoff=known_until,
            created_at=self._clock(),
            horizon_days=horizon_days,
            progress=lambda stage, share: tell(stage, _READING + (1 - _READING) * share),
            lines=lines,
            partition_at=cache(lambda at: partition_at(stored, self._reader.policy, at)),
            champion=self._registry.current(),
        )
        model_id = self._registry.save(model)
        if model.card.challenge.promoted:
            self._registry.promote(model_id)
        return convert.model_to_proto(self._entry(model_id))

    def _entry(self, model_id: str) -> Entry:
        for entry in self._registry.entries():
            if entry.id == model_id:
                return entry
        raise NotFound("model", f"models/{model_id}")


def _page(entries: Sequence[Entry], size: int, token: str) -> Page[Entry]:
    """One page, newest first, of entries that come oldest first. Its token counts those that are left, so that a model
    that appears in between moves nothing."""
    asked = "models"
    (left,) = place_of(asked, token, (1 << 62,))
    older = entries[: int(left)]
    page = older[-size_of(size) :][::-1]
    rest = len(older) - len(page)
    return Page(tuple(page), token_of(asked, (rest,)) if rest else "")


def _top(
    request: prediction_service_pb2.ScoreChurnRequest
    | prediction_service_pb2.BatchScoreChurnRequest
    | prediction_service_pb2.GetPredictionsRequest,
) -> int:
    return request.max_reasons if request.HasField("max_reasons") else DEFAULT_REASONS


def _products(request: prediction_service_pb2.GetPredictionsRequest) -> int:
    return request.max_products if request.HasField("max_products") else DEFAULT_PRODUCTS


def _horizon(
    request: prediction_service_pb2.ScoreChurnRequest
    | prediction_service_pb2.BatchScoreChurnRequest
    | prediction_service_pb2.StreamScoresRequest
    | prediction_service_pb2.GetPredictionsRequest,
) -> int | None:
    """None for the model's longest."""
    return request.horizon_days or None
