from google.protobuf.internal import containers as _containers
from google.protobuf.internal import enum_type_wrapper as _enum_type_wrapper
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class DType(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    NONE: _ClassVar[DType]
    FLOAT32: _ClassVar[DType]
    FLOAT16: _ClassVar[DType]
    BFLOAT16: _ClassVar[DType]
    INT8: _ClassVar[DType]
    UINT8: _ClassVar[DType]
    INT32: _ClassVar[DType]
    INT64: _ClassVar[DType]
    FLOAT64: _ClassVar[DType]
    BOOL: _ClassVar[DType]
NONE: DType
FLOAT32: DType
FLOAT16: DType
BFLOAT16: DType
INT8: DType
UINT8: DType
INT32: DType
INT64: DType
FLOAT64: DType
BOOL: DType

class Tensor(_message.Message):
    __slots__ = ("name", "dtype", "shape", "bytes")
    NAME_FIELD_NUMBER: _ClassVar[int]
    DTYPE_FIELD_NUMBER: _ClassVar[int]
    SHAPE_FIELD_NUMBER: _ClassVar[int]
    BYTES_FIELD_NUMBER: _ClassVar[int]
    name: str
    dtype: DType
    shape: _containers.RepeatedScalarFieldContainer[int]
    bytes: int
    def __init__(self, name: _Optional[str] = ..., dtype: _Optional[_Union[DType, str]] = ..., shape: _Optional[_Iterable[int]] = ..., bytes: _Optional[int] = ...) -> None: ...

class Where(_message.Message):
    __slots__ = ("attempt", "epoch", "cohort", "step", "steps")
    ATTEMPT_FIELD_NUMBER: _ClassVar[int]
    EPOCH_FIELD_NUMBER: _ClassVar[int]
    COHORT_FIELD_NUMBER: _ClassVar[int]
    STEP_FIELD_NUMBER: _ClassVar[int]
    STEPS_FIELD_NUMBER: _ClassVar[int]
    attempt: int
    epoch: int
    cohort: int
    step: int
    steps: int
    def __init__(self, attempt: _Optional[int] = ..., epoch: _Optional[int] = ..., cohort: _Optional[int] = ..., step: _Optional[int] = ..., steps: _Optional[int] = ...) -> None: ...

class Envelope(_message.Message):
    __slots__ = ("seq", "where", "tensors", "seconds", "hello", "smashed", "weights", "done", "scores", "tally", "leaving", "refusal", "feature_gradients", "welcome", "forward", "gradient", "collect", "publish", "snapshot", "restore", "evaluate", "alone", "digest", "finish", "features")
    SEQ_FIELD_NUMBER: _ClassVar[int]
    WHERE_FIELD_NUMBER: _ClassVar[int]
    TENSORS_FIELD_NUMBER: _ClassVar[int]
    SECONDS_FIELD_NUMBER: _ClassVar[int]
    HELLO_FIELD_NUMBER: _ClassVar[int]
    SMASHED_FIELD_NUMBER: _ClassVar[int]
    WEIGHTS_FIELD_NUMBER: _ClassVar[int]
    DONE_FIELD_NUMBER: _ClassVar[int]
    SCORES_FIELD_NUMBER: _ClassVar[int]
    TALLY_FIELD_NUMBER: _ClassVar[int]
    LEAVING_FIELD_NUMBER: _ClassVar[int]
    REFUSAL_FIELD_NUMBER: _ClassVar[int]
    FEATURE_GRADIENTS_FIELD_NUMBER: _ClassVar[int]
    WELCOME_FIELD_NUMBER: _ClassVar[int]
    FORWARD_FIELD_NUMBER: _ClassVar[int]
    GRADIENT_FIELD_NUMBER: _ClassVar[int]
    COLLECT_FIELD_NUMBER: _ClassVar[int]
    PUBLISH_FIELD_NUMBER: _ClassVar[int]
    SNAPSHOT_FIELD_NUMBER: _ClassVar[int]
    RESTORE_FIELD_NUMBER: _ClassVar[int]
    EVALUATE_FIELD_NUMBER: _ClassVar[int]
    ALONE_FIELD_NUMBER: _ClassVar[int]
    DIGEST_FIELD_NUMBER: _ClassVar[int]
    FINISH_FIELD_NUMBER: _ClassVar[int]
    FEATURES_FIELD_NUMBER: _ClassVar[int]
    seq: int
    where: Where
    tensors: _containers.RepeatedCompositeFieldContainer[Tensor]
    seconds: float
    hello: Hello
    smashed: Smashed
    weights: Weights
    done: Done
    scores: Scores
    tally: Tally
    leaving: Leaving
    refusal: Refusal
    feature_gradients: FeatureGradients
    welcome: Welcome
    forward: Forward
    gradient: Gradient
    collect: Collect
    publish: Publish
    snapshot: Snapshot
    restore: Restore
    evaluate: Evaluate
    alone: Alone
    digest: Digest
    finish: Finish
    features: Features
    def __init__(self, seq: _Optional[int] = ..., where: _Optional[_Union[Where, _Mapping]] = ..., tensors: _Optional[_Iterable[_Union[Tensor, _Mapping]]] = ..., seconds: _Optional[float] = ..., hello: _Optional[_Union[Hello, _Mapping]] = ..., smashed: _Optional[_Union[Smashed, _Mapping]] = ..., weights: _Optional[_Union[Weights, _Mapping]] = ..., done: _Optional[_Union[Done, _Mapping]] = ..., scores: _Optional[_Union[Scores, _Mapping]] = ..., tally: _Optional[_Union[Tally, _Mapping]] = ..., leaving: _Optional[_Union[Leaving, _Mapping]] = ..., refusal: _Optional[_Union[Refusal, _Mapping]] = ..., feature_gradients: _Optional[_Union[FeatureGradients, _Mapping]] = ..., welcome: _Optional[_Union[Welcome, _Mapping]] = ..., forward: _Optional[_Union[Forward, _Mapping]] = ..., gradient: _Optional[_Union[Gradient, _Mapping]] = ..., collect: _Optional[_Union[Collect, _Mapping]] = ..., publish: _Optional[_Union[Publish, _Mapping]] = ..., snapshot: _Optional[_Union[Snapshot, _Mapping]] = ..., restore: _Optional[_Union[Restore, _Mapping]] = ..., evaluate: _Optional[_Union[Evaluate, _Mapping]] = ..., alone: _Optional[_Union[Alone, _Mapping]] = ..., digest: _Optional[_Union[Digest, _Mapping]] = ..., finish: _Optional[_Union[Finish, _Mapping]] = ..., features: _Optional[_Union[Features, _Mapping]] = ...) -> None: ...

class Hello(_message.Message):
    __slots__ = ("run", "segment", "session", "done", "samples", "snapshots", "validation", "test", "version")
    RUN_FIELD_NUMBER: _ClassVar[int]
    SEGMENT_FIELD_NUMBER: _ClassVar[int]
    SESSION_FIELD_NUMBER: _ClassVar[int]
    DONE_FIELD_NUMBER: _ClassVar[int]
    SAMPLES_FIELD_NUMBER: _ClassVar[int]
    SNAPSHOTS_FIELD_NUMBER: _ClassVar[int]
    VALIDATION_FIELD_NUMBER: _ClassVar[int]
    TEST_FIELD_NUMBER: _ClassVar[int]
    VERSION_FIELD_NUMBER: _ClassVar[int]
    run: str
    segment: str
    session: int
    done: int
    samples: int
    snapshots: _containers.RepeatedScalarFieldContainer[int]
    validation: int
    test: int
    version: str
    def __init__(self, run: _Optional[str] = ..., segment: _Optional[str] = ..., session: _Optional[int] = ..., done: _Optional[int] = ..., samples: _Optional[int] = ..., snapshots: _Optional[_Iterable[int]] = ..., validation: _Optional[int] = ..., test: _Optional[int] = ..., version: _Optional[str] = ...) -> None: ...

class Smashed(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class Weights(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class Done(_message.Message):
    __slots__ = ("digest",)
    DIGEST_FIELD_NUMBER: _ClassVar[int]
    digest: str
    def __init__(self, digest: _Optional[str] = ...) -> None: ...

class Scores(_message.Message):
    __slots__ = ("samples",)
    SAMPLES_FIELD_NUMBER: _ClassVar[int]
    samples: int
    def __init__(self, samples: _Optional[int] = ...) -> None: ...

class Tally(_message.Message):
    __slots__ = ("loss", "correct", "samples", "steps", "bad_step", "scores")
    class ScoresEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: float
        def __init__(self, key: _Optional[str] = ..., value: _Optional[float] = ...) -> None: ...
    LOSS_FIELD_NUMBER: _ClassVar[int]
    CORRECT_FIELD_NUMBER: _ClassVar[int]
    SAMPLES_FIELD_NUMBER: _ClassVar[int]
    STEPS_FIELD_NUMBER: _ClassVar[int]
    BAD_STEP_FIELD_NUMBER: _ClassVar[int]
    SCORES_FIELD_NUMBER: _ClassVar[int]
    loss: float
    correct: float
    samples: int
    steps: int
    bad_step: int
    scores: _containers.ScalarMap[str, float]
    def __init__(self, loss: _Optional[float] = ..., correct: _Optional[float] = ..., samples: _Optional[int] = ..., steps: _Optional[int] = ..., bad_step: _Optional[int] = ..., scores: _Optional[_Mapping[str, float]] = ...) -> None: ...

class Leaving(_message.Message):
    __slots__ = ("reason", "returns")
    REASON_FIELD_NUMBER: _ClassVar[int]
    RETURNS_FIELD_NUMBER: _ClassVar[int]
    reason: str
    returns: bool
    def __init__(self, reason: _Optional[str] = ..., returns: _Optional[bool] = ...) -> None: ...

class FeatureGradients(_message.Message):
    __slots__ = ("loss", "correct")
    LOSS_FIELD_NUMBER: _ClassVar[int]
    CORRECT_FIELD_NUMBER: _ClassVar[int]
    loss: float
    correct: float
    def __init__(self, loss: _Optional[float] = ..., correct: _Optional[float] = ...) -> None: ...

class Refusal(_message.Message):
    __slots__ = ("reason", "extreme")
    REASON_FIELD_NUMBER: _ClassVar[int]
    EXTREME_FIELD_NUMBER: _ClassVar[int]
    reason: str
    extreme: bool
    def __init__(self, reason: _Optional[str] = ..., extreme: _Optional[bool] = ...) -> None: ...

class Welcome(_message.Message):
    __slots__ = ("session", "attempt", "fresh", "clients")
    SESSION_FIELD_NUMBER: _ClassVar[int]
    ATTEMPT_FIELD_NUMBER: _ClassVar[int]
    FRESH_FIELD_NUMBER: _ClassVar[int]
    CLIENTS_FIELD_NUMBER: _ClassVar[int]
    session: int
    attempt: int
    fresh: bool
    clients: int
    def __init__(self, session: _Optional[int] = ..., attempt: _Optional[int] = ..., fresh: _Optional[bool] = ..., clients: _Optional[int] = ...) -> None: ...

class Forward(_message.Message):
    __slots__ = ("first", "samples")
    FIRST_FIELD_NUMBER: _ClassVar[int]
    SAMPLES_FIELD_NUMBER: _ClassVar[int]
    first: int
    samples: int
    def __init__(self, first: _Optional[int] = ..., samples: _Optional[int] = ...) -> None: ...

class Gradient(_message.Message):
    __slots__ = ("rate", "averaged", "then_forward", "kept")
    RATE_FIELD_NUMBER: _ClassVar[int]
    AVERAGED_FIELD_NUMBER: _ClassVar[int]
    THEN_FORWARD_FIELD_NUMBER: _ClassVar[int]
    KEPT_FIELD_NUMBER: _ClassVar[int]
    rate: float
    averaged: bool
    then_forward: bool
    kept: bool
    def __init__(self, rate: _Optional[float] = ..., averaged: _Optional[bool] = ..., then_forward: _Optional[bool] = ..., kept: _Optional[bool] = ...) -> None: ...

class Collect(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class Publish(_message.Message):
    __slots__ = ("head",)
    HEAD_FIELD_NUMBER: _ClassVar[int]
    head: bool
    def __init__(self, head: _Optional[bool] = ...) -> None: ...

class Snapshot(_message.Message):
    __slots__ = ("best",)
    BEST_FIELD_NUMBER: _ClassVar[int]
    best: bool
    def __init__(self, best: _Optional[bool] = ...) -> None: ...

class Restore(_message.Message):
    __slots__ = ("steps", "digest")
    STEPS_FIELD_NUMBER: _ClassVar[int]
    DIGEST_FIELD_NUMBER: _ClassVar[int]
    steps: int
    digest: str
    def __init__(self, steps: _Optional[int] = ..., digest: _Optional[str] = ...) -> None: ...

class Evaluate(_message.Message):
    __slots__ = ("part", "first", "count", "shared")
    PART_FIELD_NUMBER: _ClassVar[int]
    FIRST_FIELD_NUMBER: _ClassVar[int]
    COUNT_FIELD_NUMBER: _ClassVar[int]
    SHARED_FIELD_NUMBER: _ClassVar[int]
    part: str
    first: int
    count: int
    shared: bool
    def __init__(self, part: _Optional[str] = ..., first: _Optional[int] = ..., count: _Optional[int] = ..., shared: _Optional[bool] = ...) -> None: ...

class Alone(_message.Message):
    __slots__ = ("rates", "collect")
    RATES_FIELD_NUMBER: _ClassVar[int]
    COLLECT_FIELD_NUMBER: _ClassVar[int]
    rates: _containers.RepeatedScalarFieldContainer[float]
    collect: bool
    def __init__(self, rates: _Optional[_Iterable[float]] = ..., collect: _Optional[bool] = ...) -> None: ...

class Digest(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class Features(_message.Message):
    __slots__ = ("part", "first", "count", "shared")
    PART_FIELD_NUMBER: _ClassVar[int]
    FIRST_FIELD_NUMBER: _ClassVar[int]
    COUNT_FIELD_NUMBER: _ClassVar[int]
    SHARED_FIELD_NUMBER: _ClassVar[int]
    part: str
    first: int
    count: int
    shared: bool
    def __init__(self, part: _Optional[str] = ..., first: _Optional[int] = ..., count: _Optional[int] = ..., shared: _Optional[bool] = ...) -> None: ...

class Finish(_message.Message):
    __slots__ = ("summary",)
    SUMMARY_FIELD_NUMBER: _ClassVar[int]
    summary: str
    def __init__(self, summary: _Optional[str] = ...) -> None: ...
