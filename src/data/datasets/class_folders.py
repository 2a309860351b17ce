"""Images sorted into one folder per class, ImageNet's form, for the pretraining of backbones."""

from __future__ import annotations

import os
from pathlib import Path

import torch
from PIL import Image
from torch import Tensor
from torch.utils.data import DataLoader, Dataset
from torchvision.datasets import ImageFolder
from torchvision.datasets.folder import IMG_EXTENSIONS, has_file_allowed_extension
from torchvision.transforms import v2

from src.data.datasets.base import LabelledDataset
from src.data.datasets.files import POLICIES
from src.data.images import Normalisation, read_image
from src.data.labels import ClassSet
from src.data.module import ResumableData
from src.data.sampling import EpochSampler, PaddedDataset, SampleIndex, SparingDataset, as_sample_index
from src.errors import UserError, check_choice

Labelled = tuple[Tensor, int]
NO_LABEL = -1  # of an image that does not count
LABEL_MAPS = {"labels", "masks", "annotations"}  # folders of data sets for segmentation


class ClassFolders(LabelledDataset):
    """`root`/SPLIT/CLASS/NAME.jpg (.png, ..); the classes are the sorted folders of `root`/train.

    Args:
        root: folder with the splits.
        mean: of RGB in 0..1.
        std: of RGB in 0..1.

    Raises:
        UserError: no root, or no folders of classes in its `train`, or one class.
    """

    def __init__(self, root: str | None, mean: list[float], std: list[float]) -> None:
        if root is None:
            raise UserError("data.root is not set; give data.root=PATH of a folder with train/CLASS/ and val/CLASS/")
        self.root = Path(root)
        names = tuple(self.image_folder("train").classes)
        if len(names) == 1:
            raise UserError(f"'{self.root / 'train'}' has one class, '{names[0]}'; a classifier needs two or more")
        self.splits = tuple(sorted(path.name for path in self.root.iterdir() if path.is_dir()))
        self.classes = ClassSet(names, ((0, 0, 0),) * len(names))
        self.normalisation = Normalisation.of(mean, std)

    def image_folder(self, split: str) -> ImageFolder:
        """Images of a split with the indices of their classes, sorted by name.

        Raises:
            UserError: no such folder, a class without images, folders that are no classes, or not those of `train`.
        """
        try:
            found = ImageFolder(self.root / split, loader=_image, is_valid_file=_is_image)
        except OSError as error:
            raise UserError(f"data.root '{self.root}': {error}; it needs {split}/CLASS/NAME.jpg") from error
        if maps := LABEL_MAPS.intersection(found.classes):
            raise UserError(
                f"'{self.root / split / min(maps)}' holds label maps of a data set for segmentation, but "
                f"data=class_folders needs {split}/CLASS/NAME.jpg; give data=folder and an experiment for segmentation"
            )
        folders = {os.path.dirname(path) for path, _ in found.samples}
        if nested := folders - {os.path.join(found.root, name) for name in found.classes}:
            raise UserError(
                f"'{min(nested)}' is below the folder of a class, so its name would not be used; "
                f"move its images to {split}/CLASS/NAME.jpg"
            )
        if split != "train" and tuple(found.classes) != self.classes.names:
            raise UserError(f"'{self.root / split}' has other classes than train; give both the same folders")
        return found


def _image(path: str) -> Image.Image:
    return Image.fromarray(read_image(Path(path)))


def _is_image(path: str) -> bool:
    return not Path(path).name.startswith(".") and has_file_allowed_extension(path, IMG_EXTENSIONS)


class ImageClassDataset(Dataset[Labelled]):
    """Images of a split behind a transform whose draws follow the sampler's seeds."""

    def __init__(self, images: ImageFolder, transform: v2.Transform) -> None:
        self.images, self.transform = images, transform

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, draw: SampleIndex | int) -> Labelled:
        """uint8 image (3, size, size) and class index."""
        index, seed = as_sample_index(draw)
        image, label = self.images[index]
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            return self.transform(image), label


class ClassFolderModule(ResumableData):
    """Loaders of (images (B, 3, size, size), class indices (B,)); images are normalised on the device.

    Args:
        source: the images.
        size: of what the network sees; training takes random parts of an image, validation its centre.
        resize: of the shorter side in validation, before the centre is cut out.
        batch_size: images per step, of all processes together.
        workers: loader processes of each process; "auto": its share of the cores.
        seed: of order and augmentation.
        on_damage: "stop" at damaged images, or "skip" them, with a warning.
    """

    def __init__(
        self,
        source: ClassFolders,
        size: int,
        resize: int,
        batch_size: int,
        workers: int | str,
        seed: int,
        on_damage: str,
    ) -> None:
        super().__init__(batch_size, workers)
        check_choice("data.on_damage", on_damage, POLICIES)
        self.on_damage = on_damage
        self.source, self.size, self.resize = source, size, resize
        self.seed = seed
        normal = source.normalisation
        self._numbers = v2.Compose([v2.ToDtype(torch.float32, scale=True), v2.Normalize(normal.mean, normal.std)])

    def train_dataloader(self) -> DataLoader[Labelled]:
        """Random parts at random scales, mirrored at random; in a resumed epoch those that are left."""
        dataset = self._images("train", v2.RandomResizedCrop(self.size), v2.RandomHorizontalFlip())
        sampler = self.training_sampler(len(dataset), self.own_batch_size, self.seed)
        return self.loader(SparingDataset(dataset, self.on_damage), self.own_batch_size, sampler, drop_last=True)

    def val_dataloader(self) -> DataLoader[Labelled]:
        """Centres, every image once."""
        dataset = self._images("val", v2.Resize(self.resize), v2.CenterCrop(self.size))
        sampler = EpochSampler(len(dataset), False, self.seed)
        whole = SparingDataset(dataset, self.on_damage, _unlabelled)
        return self.loader(PaddedDataset(whole, _unlabelled), self.own_batch_size, sampler, drop_last=False)

    def on_after_batch_transfer(self, batch: list[Tensor], dataloader_idx: int) -> list[Tensor]:
        """Normalise on the device, where bytes arrive faster than numbers."""
        images, labels = batch
        return [self._numbers(images), labels]

    def _images(self, split: str, *geometry: v2.Transform) -> ImageClassDataset:
        return ImageClassDataset(
            self.source.image_folder(split), v2.Compose([*geometry, v2.ToImage(), v2.ToPureTensor()])
        )


def _unlabelled(image: Labelled) -> Labelled:
    return image[0], NO_LABEL
