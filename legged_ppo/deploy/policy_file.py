"""An exported ONNX policy, run by onnxruntime; torch is not needed."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import onnxruntime

from legged_ppo.deploy.metadata import (
    ACTION,
    KEY,
    STATE_IN,
    STATE_OUT,
    TARGETS,
    Metadata,
    read_metadata,
)
from legged_ppo.errors import ConfigError


class OnnxPolicy:
    """The graph of one robot; the recurrent state is carried from call to call.

    Raises:
        ConfigError: the file is missing, damaged, not ONNX or not from `legged-ppo export`, or graph and metadata
            disagree.
    """

    def __init__(self, path: Path) -> None:
        if not path.is_file():
            raise ConfigError("policy", str(path), "an .onnx file of legged-ppo export")
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = options.inter_op_num_threads = 1
        options.log_severity_level = 4
        try:
            self._session = onnxruntime.InferenceSession(
                path.read_bytes(), options, providers=["CPUExecutionProvider"]
            )
        except Exception as error:  # onnxruntime's own classes, which have no common base
            reason = " ".join(str(error).split())[:160]
            raise ConfigError("policy", str(path), f"a whole ONNX file ({reason})") from None
        text = self._session.get_modelmeta().custom_metadata_map.get(KEY)
        if text is None:
            expected = "an ONNX file of legged-ppo export, which holds its metadata"
            raise ConfigError("policy", str(path), expected)
        self.metadata: Metadata = read_metadata(text, str(path))
        self._check(path)
        self.restart()

    def restart(self) -> None:
        """The next call is the first of an episode."""
        self._state = np.zeros(self.metadata.recurrent_state or [0], dtype=np.float32)

    def call(self, inputs: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        """Outputs by name of one call of the graph with all its inputs, recurrent state included."""
        return dict(zip(self._outputs, self._session.run(self._outputs, dict(inputs)), strict=True))

    def act(self, groups: Mapping[str, np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
        """Joint targets [J] rad and action [J] for observation groups [1, width]."""
        memory = {STATE_IN: self._state} if self.metadata.recurrent_state else {}
        outputs = self.call({**groups, **memory})
        if memory:
            self._state = outputs[STATE_OUT]
        return outputs[TARGETS][0].astype(float), outputs[ACTION][0].astype(float)

    def _check(self, path: Path) -> None:
        data, joints = self.metadata, len(self.metadata.robot.joints)
        inputs = {group.name: [1, group.width] for group in data.observations}
        outputs = {TARGETS: [1, joints], ACTION: [1, joints]}
        if data.recurrent_state:
            inputs[STATE_IN] = outputs[STATE_OUT] = data.recurrent_state
        self._outputs = list(outputs)
        for side, wanted, found in (
            ("input", inputs, self._session.get_inputs()),
            ("output", outputs, self._session.get_outputs()),
        ):
            have = {each.name: each.shape for each in found}
            for name in wanted.keys() | have.keys():
                if have.get(name) != wanted.get(name):
                    expected = f"{wanted.get(name)} as its metadata say"
                    raise ConfigError(f"{side} {name}", have.get(name), expected, source=str(path))
