"""The sound of one video for another: its packets as they are where the container takes them, else coded anew."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from nst_lightning.errors import UserError
from nst_lightning.video.reading import first_frame_time, open_video, reason

_log = logging.getLogger(__name__)

if TYPE_CHECKING:
    from av.audio.frame import AudioFrame
    from av.audio.stream import AudioStream
    from av.container import InputContainer, OutputContainer
    from av.packet import Packet

# FFmpeg says of both that they take more: PCM and Vorbis in an MP4, which most players do not find there, and
# Opus and FLAC in a MOV, which it then refuses to write
_TAKEN = {
    "mp4": ("aac", "mp3", "ac3", "eac3", "alac", "flac", "opus"),
    "mov": ("aac", "mp3", "ac3", "eac3", "alac", "pcm_"),
}
_BITS_PER_CHANNEL = 96_000  # a second
_OPUS_RATE = 48_000  # Hz; Opus knows no 44.1 kHz


@contextmanager
def copy_audio(source: Path, container: OutputContainer) -> Iterator[Sound]:
    """Copy the sound of a video into a container that is being written.

    Args:
        source: Video whose sound it is; it may have none.
        container: Container that is written. Its video stream is there already, its header is not written yet.

    Yields:
        Writer of the sound, to be called as the frames go on.

    Raises:
        UserError: If the source cannot be opened, or FFmpeg cannot decode what has to be coded anew.
    """
    first_frame = first_frame_time(source)
    with open_video(source) as (file, _):
        yield Sound(source, file, first_frame, container)


class Sound:
    """Writes the main sound track of a video into another one.

    Packets are copied byte for byte. Where the container does not take their codec they are decoded and coded as
    AAC, in WebM as Opus: mono as mono, anything else as stereo; a packet that cannot be decoded leaves a gap.
    Nothing is cut off or appended, and the sound keeps its distance in time from the frames. It is read only as
    far as the frames have come, so the sound of a long video is never in memory.

    Args:
        source: Path of the video, for messages.
        file: Opened video.
        first_frame: Time at which its first frame is shown, in seconds on its own clock.
        container: Container that the sound is written to.

    Attributes:
        delay: Seconds from the beginning of the new file to its first frame: more than 0 if the sound begins earlier.
    """

    def __init__(self, source: Path, file: InputContainer, first_frame: Fraction, container: OutputContainer) -> None:
        from av.audio.stream import AudioStream

        self._container = container
        self._packets: Iterator[Packet[AudioStream]] = iter(())
        self._ahead: Packet[AudioStream] | None = None
        track = file.streams.best("audio")
        _log_losses(source, file)
        beginning = first_frame
        if isinstance(track, AudioStream) and cast(Any, track).codec_context is None:  # PyAV's types say never
            _log.warning("%s: FFmpeg knows no decoder of its sound, which is left out", source)
        elif isinstance(track, AudioStream):
            if track.start_time is not None and track.time_base:
                beginning = min(first_frame, track.start_time * track.time_base)
            found = _packets(source, file, track)
            if _is_taken(track, container):
                self._packets = _copied(found, container.add_stream_from_template(track), beginning)
            else:
                self._packets = _coded_anew(found, track, _encoder(track, container), beginning)
        self.delay = first_frame - beginning

    def write_until(self, time: Fraction | float) -> None:
        """Write what begins up to a time of the new file, in seconds; the header has to be written by now."""
        while True:
            if self._ahead is None:
                self._ahead = next(self._packets, None)
            if self._ahead is None or _begin(self._ahead) > time:
                return
            self._container.mux(self._ahead)
            self._ahead = None


def _log_losses(source: Path, file: InputContainer) -> None:
    """Log what a video holds beside the one sound track that is kept."""
    others = {"sound track": len(file.streams.audio) - 1, "subtitle track": len(file.streams.subtitles)}
    lost = [f"{count} {name}{'s' * (count > 1)}" for name, count in others.items() if count > 0]
    if lost:
        _log.warning("%s: of its sound the main track is kept; left out: %s", source, " and ".join(lost))


def _begin(packet: Packet[AudioStream]) -> Fraction | float:
    return float("-inf") if packet.dts is None else packet.dts * packet.time_base


def _is_taken(track: AudioStream, container: OutputContainer) -> bool:
    codec = track.codec_context.codec.canonical_name
    return codec in container.supported_codecs and codec.startswith(_TAKEN.get(container.format.name, ""))


def _packets(source: Path, file: InputContainer, track: AudioStream) -> Iterator[Packet[AudioStream]]:
    import av

    try:
        # those without data mark the end of the file
        yield from (packet for packet in file.demux(track) if packet.size)
    except av.FFmpegError as error:
        raise UserError(
            f"expected whole sound, found {source} damaged or cut short ({reason(error)}); get the file anew"
        ) from error


def _copied(
    packets: Iterator[Packet[AudioStream]], stream: AudioStream, beginning: Fraction
) -> Iterator[Packet[AudioStream]]:
    for packet in packets:
        ticks = round(beginning / packet.time_base)
        if packet.pts is not None:
            packet.pts -= ticks
        if packet.dts is not None:
            packet.dts -= ticks
        packet.stream = stream
        yield packet


def _encoder(track: AudioStream, container: OutputContainer) -> AudioStream:
    import av

    is_mono = track.codec_context.layout.nb_channels == 1
    if container.format.name == "webm":
        stream = container.add_stream("libopus", rate=_OPUS_RATE)
    else:
        rates = av.Codec("aac", "w").audio_rates or ()
        stream = container.add_stream("aac", rate=track.rate if track.rate in rates else _OPUS_RATE)
    stream.codec_context.layout = "mono" if is_mono else "stereo"
    stream.codec_context.bit_rate = _BITS_PER_CHANNEL * (1 if is_mono else 2)
    return stream


def _coded_anew(
    packets: Iterator[Packet[AudioStream]], track: AudioStream, stream: AudioStream, beginning: Fraction
) -> Iterator[Packet[AudioStream]]:
    for frame in _decoded(packets, track):
        if frame.pts is not None and frame.time_base:
            frame.pts -= round(beginning / frame.time_base)
        yield from stream.encode(frame)
    yield from stream.encode(None)


def _decoded(packets: Iterator[Packet[AudioStream]], track: AudioStream) -> Iterator[AudioFrame]:
    import av

    for packet in packets:
        with suppress(av.error.InvalidDataError):  # such as half an MP3 frame where an AVI was cut
            yield from packet.decode()
    yield from track.decode(None)
