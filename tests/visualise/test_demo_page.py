import numpy as np

from mien.evaluate.read_outs import ReadOut
from mien.visualise.demo_page import verdict


def of(name, *auc):
    return ReadOut(name, np.array(auc), 0.5, 0.5)


def test_the_verdict_says_when_pretraining_helped():
    words = verdict([of("a", 0.8, 0.7), of("b", 0.6, 0.7), of("pixels", 0.7, 0.6)])
    assert words.startswith("Pretraining helped: mean ROC-AUC 0.750 against 0.650; 1 of 2")
    assert "above the floor" in words and "not above" not in words


def test_the_verdict_says_when_pretraining_hurt():
    words = verdict([of("a", 0.5, 0.6), of("b", 0.6, 0.7), of("pixels", 0.7, 0.6)])
    assert words.startswith("Pretraining did not help, it hurt")
    assert "not above the floor" in words


def test_the_verdict_makes_nothing_of_a_small_difference():
    assert verdict([of("a", 0.61), of("b", 0.60)]).startswith("Pretraining changed nothing worth a word")
