"""What the tests share: files whose samples carry their ids, models that count them, waiting."""
