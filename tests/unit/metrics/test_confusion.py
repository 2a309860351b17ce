"""mIoU from confusion matrices, against torchmetrics and by hand."""

import torch
from torchmetrics.classification import MulticlassJaccardIndex

from src.metrics.confusion import DistanceConfusion, iou


def batch(seed: int, size: int = 4) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    labels = torch.randint(0, 4, (size, 9, 11), generator=generator)
    labels[torch.rand(labels.shape, generator=generator) < 0.2] = 255
    predictions = torch.randint(0, 4, labels.shape, generator=generator)
    return predictions, labels, torch.randint(0, 3, (size,), generator=generator)


def test_equals_torchmetrics_over_the_data_set() -> None:
    metric = DistanceConfusion(4, 3)
    reference = MulticlassJaccardIndex(4, average="macro", ignore_index=255)
    for seed in range(3):
        predictions, labels, distance = batch(seed)
        metric.update(predictions, labels, distance)
        reference.update(predictions, labels)
    torch.testing.assert_close(iou(metric.counts.sum(0)).nanmean().float(), reference.compute())


def test_distances_are_counted_apart() -> None:
    predictions, labels, _ = batch(1)
    together, apart = DistanceConfusion(4, 3), DistanceConfusion(4, 3)
    together.update(predictions, labels, torch.tensor([0, 1, 2, 1]))
    for item, distance in enumerate((0, 1, 2, 1)):
        one = slice(item, item + 1)
        apart.update(predictions[one], labels[one], torch.tensor([distance]))
    assert torch.equal(together.counts, apart.counts)
    assert together.counts[0].sum() == (labels[0] != 255).sum()


def test_absent_class_is_not_a_number() -> None:
    metric = DistanceConfusion(3, 1)
    metric.update(torch.zeros(1, 2, 2, dtype=torch.long), torch.zeros(1, 2, 2, dtype=torch.long), torch.zeros(1).long())
    assert iou(metric.compute())[0].isnan().tolist() == [False, True, True]
