"""BIDS sidecars of the phantom's scans."""

from bids_mmh.phantom.imaging.acquisition import Protocol, Site
from bids_mmh.phantom.imaging.scanner import Geometry
from bids_mmh.phantom.imaging.signals import InversionRecoveryGradientEcho, SpinEcho, SpoiledGradientEcho


def scan_sidecar(site: Site, protocol: Protocol, geometry: Geometry) -> dict[str, object]:
    """Describe the acquisition of a scan.

    Args:
        site: The scanner.
        protocol: Protocol of the sequence.
        geometry: Geometry of the scan.

    Returns:
        BIDS metadata of the sidecar; times in seconds, angles in degrees, sizes in mm.

    Raises:
        TypeError: If the pulse sequence is of an unknown class.
    """
    return {
        "Modality": "MR",
        "MagneticFieldStrength": site.field_strength,
        "Manufacturer": site.manufacturer,
        "ManufacturersModelName": "Simulated",
        "InstitutionName": site.name,
        **_timing(protocol),
        "SliceThickness": round(max(geometry.size), 3),
    }


def _timing(protocol: Protocol) -> dict[str, object]:
    sequence = protocol.sequence
    match sequence:
        case InversionRecoveryGradientEcho():
            return {
                "PulseSequenceType": "Magnetization-prepared rapid gradient echo",
                "MRAcquisitionType": "3D",
                "RepetitionTime": _seconds(sequence.repetition_time),
                "RepetitionTimeExcitation": _seconds(sequence.echo_spacing),
                "RepetitionTimePreparation": _seconds(sequence.repetition_time),
                "EchoTime": _seconds(sequence.echo_time),
                "InversionTime": _seconds(sequence.inversion_time),
                "FlipAngle": round(sequence.flip_angle, 1),
            }
        case SpoiledGradientEcho():
            return {
                "PulseSequenceType": "Spoiled gradient echo",
                "MRAcquisitionType": "3D",
                "RepetitionTime": _seconds(sequence.repetition_time),
                "EchoTime": _seconds(sequence.echo_time),
                "FlipAngle": round(sequence.flip_angle, 1),
            }
        case SpinEcho():
            return {
                "PulseSequenceType": "Spin echo",
                "MRAcquisitionType": "2D",
                "RepetitionTime": _seconds(sequence.repetition_time),
                "EchoTime": _seconds(sequence.echo_time),
                "FlipAngle": 90,
            }
    raise TypeError(f"{type(sequence).__name__} has no sidecar: add its timing to sidecar.py.")


def _seconds(milliseconds: float) -> float:
    return round(milliseconds / 1000, 5)
