"""What several folders of tests share: small models, the models of `../shared`, LiteRT as the judge, strategies."""
