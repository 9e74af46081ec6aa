"""
A few sentences of each class
=============================

What does a customer want? Four examples of each answer are enough to begin with.
"""

# %%
# The examples
# ------------
# Texts and their labels; on the command line a CSV with two columns, ``fphi fit wishes.csv --out
# wishes.fphi``.

import fphi

examples = {
    "card": [
        "my card has not arrived yet",
        "where is the new card that I ordered",
        "the card was swallowed by the machine",
        "I would like to order another card",
    ],
    "transfer": [
        "how long does a transfer take",
        "the money I sent has not reached my friend",
        "can I cancel a transfer",
        "send money to another country",
    ],
    "rate": [
        "what is the exchange rate today",
        "how many euros do I get for a dollar",
        "is there a fee for changing currencies",
        "the exchange rate on my statement is wrong",
    ],
}
texts = [text for sentences in examples.values() for text in sentences]
labels = [label for label, sentences in examples.items() for _ in sentences]

# %%
# Fit and predict
# ---------------
# Where the extra ``fphi[text]`` is installed a frozen sentence encoder reads them, which runs in numpy and
# brings its weights along; elsewhere words and their pieces are counted, and the sentence says so.

model = fphi.FewShotClassifier().fit(texts, labels)
print(model.decision_)

questions = [
    "I ordered a card last week",
    "how do I send money abroad",
    "how many pounds for a hundred euros",
]
for question, label, probabilities in zip(
    questions, model.predict(questions), model.predict_proba(questions), strict=True
):
    print(f"{question}: {label} ({probabilities.max():.2f})")

# %%
# A class more
# ------------
# ``partial_fit`` learns further examples, and new classes, by the learner that was chosen.

passwords = ["I forgot my password", "the password does not work", "how do I reset the password"]
model.partial_fit(passwords, ["password"] * 3)
print(model.predict(["please reset my password"]))
