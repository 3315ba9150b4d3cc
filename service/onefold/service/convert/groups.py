"""Look-alikes and clusters."""

from __future__ import annotations

from onefold.segments.clusters import Clustering
from onefold.segments.lookalike import Lookalikes
from onefold.service.convert.segments import frame_to_proto
from onefold.service.live_frame import About
from onefold.v1 import segment_service_pb2 as pb


def lookalikes_to_proto(found: Lookalikes, about: About) -> pb.FindLookalikesResponse:
    """Who looks like a group, and how well that can be said."""
    nearest = (found.ranking[name].to_pylist() for name in ("identity", "likeness"))
    return pb.FindLookalikesResponse(
        lookalikes=[
            pb.FindLookalikesResponse.Lookalike(identity=identity, likeness=likeness)
            for identity, likeness in zip(*nearest, strict=True)
        ],
        auc=found.auc.value,
        auc_low=found.auc.low,
        auc_high=found.auc.high,
        group_count=found.group,
        rest_count=found.rest,
        telling=[
            pb.FindLookalikesResponse.Telling(
                term=each.term, gain=each.gain, of_group=each.of_group, of_rest=each.of_rest
            )
            for each in found.telling
        ],
        excluded=found.excluded,
        warnings=found.warnings,
        frame=frame_to_proto(about),
    )


def clusters_to_proto(found: Clustering, about: About) -> pb.FindClustersResponse:
    """Clusters, and how they were found."""
    return pb.FindClustersResponse(
        clusters=[
            pb.FindClustersResponse.Cluster(
                key=each.key, name=each.name, people=each.people, share=each.share, words=each.words
            )
            for each in found.clusters
        ],
        tried=[
            pb.FindClustersResponse.Candidate(
                clusters=each.clusters,
                silhouette=each.silhouette,
                agreement=each.agreement,
                smallest=each.smallest,
            )
            for each in found.tried
        ],
        why=found.why,
        unknown_count=found.unknown,
        clustering=found.text(),
        frame=frame_to_proto(about),
    )
