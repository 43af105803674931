def test_backbone_keeps_its_contract(backbone_name, backbone_clause, keeps_contract):
    keeps_contract("backbone", backbone_name, backbone_clause)
