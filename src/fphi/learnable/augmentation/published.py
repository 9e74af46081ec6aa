"""What others have learned: policies of AutoAugment and schedules of PBA, as their authors published them."""

from collections.abc import Callable, Mapping
from types import MappingProxyType

from fphi.errors import FphiError
from fphi.learnable.augmentation.fixed import RandAugment, TrivialAugment
from fphi.learnable.augmentation.operations import OPERATIONS
from fphi.learnable.augmentation.policy import AugmentationPolicy, Policy, Step
from fphi.learnable.augmentation.population import PBAPolicy
from fphi.learnable.augmentation.schedule import Schedule
from fphi.ranges import checked

__all__ = ["PUBLISHED", "published"]

# Epochs, and the 60 integers of a policy, where a is 10: those of arcelien/pba for reduced CIFAR-10 and SVHN.
_PBA_CIFAR10 = (
    (12, "000000000000000000000000000000000000000000000000000000000000"),
    (22, "033719202002000030020200001031001030200600030200603400003103"),
    (20, "303832063003000303245300210060202854230533021530503301001013"),
    (20, "202335030236102505025500040120432586060265531726203118000090"),
    (1, "400560123167000805034200060040610563039085532754033007020173"),
    (6, "40335310903800090216126107021071885312a785433756036104050173"),
    (3, "30439502a03900063006059105019074825322a783433736056106893083"),
    (27, "4172a302a0493026432918a13202a372647326a954146715021009393093"),
    (6, "4182a233a04810046249579342048180677816a933133718060309665692"),
    (21, "20a2a643a1592304537584a2510253a128781778311536080606197956a6"),
    (6, "51a597477029410271a4a5a8500443a10867194712166549070319894896"),
    (9, "40a573757009113070a7a5a5300413a30859525913064617340679995756"),
    (7, "407655955006010123a7a2a3400135a2a659335649076649052699693841"),
    (17, "18a4857357189109458791a444100784a489546156147457072569393653"),
    (6, "377195953909a35813a7a5a871170965a499828283214287152239291889"),
    (12, "3760a7856909932611a5a27878369726a379a36216005069341219205989"),
    (5, "0666a0345809730602a5a2a6a908a7278667a39408015087332308335276"),
)
_PBA_SVHN = (
    (9, "000000000000000000000000000000000000000000000000000000000000"),
    (15, "001313002040000000110130030011410020003030010228000202002300"),
    (6, "000653000050102230000683204819908008006001032529003005022302"),
    (8, "00132901108201051000878402490947a0191993a1090929012008318394"),
    (7, "02032903206631051000247903590659a51932159409064907381881a271"),
    (24, "0232298621a543139000069903597778a207500186190726146901a2a420"),
    (6, "0360099741a654256030059934699578a206520083a92624129900a59602"),
    (25, "364119a9409764478330067865788739a1287832a379592605a802949402"),
    (4, "06a20799309534375035075948698960a048a70273796626a87800986319"),
    (4, "0180099940a9513870140479797989908277870261996624967701a76117"),
    (39, "308010a853a74018620331685989a7a18149a60070a96623755900a97137"),
    (6, "00a012a4540820083830604727a9a7a18070960096a94156966338a18374"),
    (6, "039005a7840905164840606625a9a8a0a040860069a9227685660831a892"),
    (1, "8290007456990439a881624714969891a1a053a0685825a973873900a792"),
)

# Of the paper's appendix (tables 7 and 8): operation, probability in tenths, magnitude.
_AUTOAUGMENT_CIFAR10 = (
    "Invert 1 7 Contrast 2 6",
    "Rotate 7 2 TranslateX 3 9",
    "Sharpness 8 1 Sharpness 9 3",
    "ShearY 5 8 TranslateY 7 9",
    "AutoContrast 5 8 Equalize 9 2",
    "ShearY 2 7 Posterize 3 7",
    "Color 4 3 Brightness 6 7",
    "Sharpness 3 9 Brightness 7 9",
    "Equalize 6 5 Equalize 5 1",
    "Contrast 6 7 Sharpness 6 5",
    "Color 7 7 TranslateX 5 8",
    "Equalize 3 7 AutoContrast 4 8",
    "TranslateY 4 3 Sharpness 2 6",
    "Brightness 9 6 Color 2 8",
    "Solarize 5 2 Invert 0 3",
    "Equalize 2 0 AutoContrast 6 0",
    "Equalize 2 8 Equalize 6 4",
    "Color 9 9 Equalize 6 6",
    "AutoContrast 8 4 Solarize 2 8",
    "Brightness 1 3 Color 7 0",
    "Solarize 4 5 AutoContrast 9 3",
    "TranslateY 9 9 TranslateY 7 9",
    "AutoContrast 9 2 Solarize 8 3",
    "Equalize 8 8 Invert 1 3",
    "TranslateY 7 9 AutoContrast 9 1",
)
_AUTOAUGMENT_SVHN = (
    "ShearX 9 4 Invert 2 3",
    "ShearY 9 8 Invert 7 5",
    "Equalize 6 5 Solarize 6 6",
    "Invert 9 3 Equalize 6 3",
    "Equalize 6 1 Rotate 9 3",
    "ShearX 9 4 AutoContrast 8 3",
    "ShearY 9 8 Invert 4 5",
    "ShearY 9 5 Solarize 2 6",
    "Invert 9 6 AutoContrast 8 1",
    "Equalize 6 3 Rotate 9 3",
    "ShearX 9 4 Solarize 3 3",
    "ShearY 8 8 Invert 7 4",
    "Equalize 9 5 TranslateY 6 6",
    "Invert 9 4 Equalize 6 7",
    "Contrast 3 3 Rotate 8 4",
    "Invert 8 5 TranslateY 0 2",
    "ShearY 7 6 Solarize 4 8",
    "Invert 6 4 Rotate 8 4",
    "ShearY 3 7 TranslateX 9 3",
    "ShearX 1 6 Invert 6 5",
    "Solarize 7 2 TranslateY 6 7",
    "ShearY 8 4 Invert 8 8",
    "ShearX 7 9 TranslateY 8 3",
    "ShearY 8 5 AutoContrast 7 3",
    "ShearX 7 2 Invert 1 5",
)


def _schedule(segments: tuple[tuple[int, str], ...]) -> Schedule:
    """Of integers written with one character each."""
    vectors = ((epochs, tuple(int(value, 11) for value in text)) for epochs, text in segments)
    return Schedule(tuple((epochs, PBAPolicy(vector)) for epochs, vector in vectors))


def _policy(lines: tuple[str, ...]) -> Policy:
    """Of sub-policies, in which a probability is written in tenths."""
    words = [line.split() for line in lines]
    return Policy(tuple((_step(*line[:3]), _step(*line[3:])) for line in words))


def _step(operation: str, tenths: str, magnitude: str) -> Step:
    assert operation in OPERATIONS
    return Step(operation, int(tenths) / 10, int(magnitude))


PUBLISHED: Mapping[str, Callable[[], AugmentationPolicy | Schedule]] = MappingProxyType(
    {
        "autoaugment-cifar10": lambda: _policy(_AUTOAUGMENT_CIFAR10),
        "autoaugment-svhn": lambda: _policy(_AUTOAUGMENT_SVHN),
        "pba-cifar10": lambda: _schedule(_PBA_CIFAR10),
        "pba-svhn": lambda: _schedule(_PBA_SVHN),
        "randaugment": RandAugment,
        "trivialaugment": TrivialAugment,
    }
)


@checked()
def published(name: str) -> AugmentationPolicy | Schedule:
    """A policy or a schedule by its name.

    Raises:
        FphiError: none has it.
    """
    if name not in PUBLISHED:
        raise FphiError(f"no policy {name!r} is known; there are {', '.join(PUBLISHED)}")
    return PUBLISHED[name]()
