def test_method_keeps_its_contract(method_name, method_clause, keeps_contract):
    keeps_contract("method", method_name, method_clause)
